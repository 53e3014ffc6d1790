"""SimSiam for encoders of sentences: its loss, counts and views; the command, a kill, bad inputs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from baselines.mptpn.model import MPTPN
from baselines.mptpn.network import PromptEncoder
from episodes.contrastive.batches import ContrastBatches
from fewshot.base.errors import UserError
from fewshot.commands.main import main
from fewshot.encoders.checkpoints import load_weights
from fewshot.pretraining.positive_matches import ViewPair
from fewshot.pretraining.simsiam import CosineByEpoch, SimSiam, as_bytes, contrast_loss, in_unit_range

SMALL = [
    "--encoder",
    "ppe-s32-c8-d16",
    "--option",
    "epochs=2",
    "--option",
    "batch=2",
    "--checkpoint-every",
    "1",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pictures"
    made.mkdir()
    for number in range(6):
        pixels = np.random.Generator(np.random.PCG64(number)).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(made / f"{number}.png")
    return made


def backbones(work: Path) -> list[str]:
    return [
        hashlib.sha256(path.read_bytes()).hexdigest()
        for name in ("last.pt", "backbone.pt", "losses.csv")
        for path in sorted((work / "backbones").glob(f"*/{name}"))
    ]


def test_counts_at_full_width() -> None:
    with torch.device("meta"):
        learner = SimSiam(PromptEncoder(224), (64, 128, 256), lambda _n: torch.zeros(1), "corrected", 0)
    assert [sum(p.numel() for p in one.parameters()) for one in learner.predictors] == [
        8_256,
        32_896,
        131_328,
    ]
    assert sum(p.numel() for p in learner.parameters()) == 12_946_462


def test_loss_is_minus_one_for_equal_views_and_has_no_gradient_through_the_other() -> None:
    one, other = torch.rand(2, 4, requires_grad=True), torch.rand(2, 4, requires_grad=True)
    assert contrast_loss([one], [one], [nn.Identity()]).item() == pytest.approx(-1)
    opposite = contrast_loss([torch.tensor([[1.0, 0.0]])], [torch.tensor([[0.0, 2.0]])], [nn.Identity()])
    assert opposite.item() == pytest.approx(0)
    zero = nn.Linear(4, 4)
    nn.init.zeros_(zero.weight)
    contrast_loss([one], [other], [zero]).backward()  # type: ignore[no-untyped-call]
    assert one.grad is not None and not one.grad.any()


def test_views_and_rate() -> None:
    values = torch.tensor([-1.5, -0.4, 0.9, 1.1, 2.4])
    assert as_bytes(values).tolist() == [255, 0, 0, 1, 2]
    black = torch.tensor([0.485, 0.456, 0.406]) / torch.tensor([0.229, 0.224, 0.225])
    assert in_unit_range(-black.view(1, 3, 1, 1)).abs().max() < 1e-6
    schedule = CosineByEpoch(10, 2, 1.0, 0.9, 0.0)
    assert schedule.rate_after(1) == 1 and schedule.rate_after(2) < 1
    assert schedule.rate_after(3) == schedule.rate_after(2)


def test_a_killed_pretraining_goes_on_to_the_same_bytes(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["pretrain", "simsiam", "--images", str(folder), *SMALL, "--work"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    draw = ContrastBatches.batch

    def killed(self: ContrastBatches, step: int) -> ViewPair:
        if step == 3:
            raise KeyboardInterrupt
        return draw(self, step)

    monkeypatch.setattr(ContrastBatches, "batch", killed)
    assert main([*command, str(tmp_path / "killed")]) != 0
    assert not list((tmp_path / "killed" / "backbones").glob("*/backbone.pt"))
    monkeypatch.undo()
    assert main([*command, str(tmp_path / "killed")]) == 0
    whole = backbones(tmp_path / "whole")
    assert len(whole) == 3 and whole == backbones(tmp_path / "killed")
    (file,) = (tmp_path / "whole" / "backbones").glob("*/backbone.pt")
    encoder = MPTPN.new_encoder("ppe-s32-c8-d16", 1)
    load_weights(str(file), encoder, tmp_path)
    saved = torch.load(file, weights_only=True)["state_dict"]
    assert all(torch.equal(value, saved[name]) for name, value in encoder.backbone.state_dict().items())
    with pytest.raises(UserError, match="ppe-s32-c8-d16"):
        load_weights(str(file), MPTPN.new_encoder("ppe-s32-c16-d16", 1), tmp_path)


def test_datasets_and_other_encoders_are_refused(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["pretrain", "simsiam", "--work", str(tmp_path / "work")]
    assert main([*command, "--dataset", "tiny"]) == 2
    assert "give --images FOLDER" in capsys.readouterr().err
    assert main([*command, "--images", str(folder), "--encoder", "resnet18"]) == 2
    assert "expected ppe" in capsys.readouterr().err
