"""DINOv2 encoders from a local snapshot: maps, weights, keys, errors, and every prototype learner on them."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny import tiny_store
from torch import Tensor

from fewshot.base.errors import UserError
from fewshot.commands.main import main
from fewshot.contract.synthetic_inputs import episode, segment_inputs
from fewshot.encoders import foundation
from fewshot.encoders.checkpoints import load_weights, weights_file
from fewshot.encoders.foundation import FoundationEncoder, FoundationTwoScaleEncoder, VisionTransformer
from fewshot.files.atomic_io import sha256_of
from fewshot.learners.learner import LossResult, PrototypeLearner, encoder_for
from fewshot.learners.registry import resolve_method
from protocols.training.method_config import build_method_config
from results.records.files import read_record

transformers = pytest.importorskip("transformers")

TINY = "dinov2-tiny"
FROZEN = f"{TINY}-frozen"
METHODS = ("ssl-alpnet", "dspnet", "panet", "kmeans", "adnet", "qnet", "rpt")
SIDE = 60  # pixels: 4 whole patches, 8 cells of stride 8


@pytest.fixture(autouse=True)
def tiny() -> Iterator[None]:
    """A DINOv2 of two layers under a name of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(foundation.TRANSFORMERS, TINY, VisionTransformer(32, 2, 4, side=56))
        yield


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of random weights, as the library saves it."""
    folder = tmp_path_factory.mktemp("snapshots") / "tiny"
    entries = VisionTransformer(32, 2, 4, side=56).config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        config = transformers.Dinov2Config(**{k: v for k, v in entries.items() if k != "model_type"})
        transformers.Dinov2Model(config).save_pretrained(folder)
    return folder


def images(count: int = 2, side: int = SIDE) -> Tensor:
    return torch.randn(count, 1, side, side, generator=torch.Generator().manual_seed(3))


def test_the_map_is_the_tokens_of_the_resized_slice(snapshot: Path) -> None:
    encoder = FoundationEncoder(TINY)
    load_weights(str(snapshot), encoder, snapshot)
    library = transformers.Dinov2Model.from_pretrained(snapshot).eval()
    whole = F.interpolate(images(), size=(56, 56), mode="bilinear")  # 4 x 4 patches of 14 pixels
    with torch.no_grad():
        tokens = library(torch.cat([whole] * 3, dim=1)).last_hidden_state[:, 1:]
        grid = torch.stack([tokens[:, 4 * row : 4 * row + 4] for row in range(4)], dim=1).permute(0, 3, 1, 2)
        fine, coarse, thresholds = FoundationTwoScaleEncoder(TINY)(images())
        expected = F.interpolate(grid, size=(8, 8), mode="bilinear")  # 60 / 8, rounded up
        assert torch.allclose(encoder.eval()(images()), expected, atol=1e-5)
    assert [tuple(one.shape) for one in (fine, coarse, thresholds)] == [
        (2, 32, 15, 15),
        (2, 32, 8, 8),
        (2, 1, 1, 1),
    ]


@pytest.mark.parametrize(
    ("name", "parameters"), [("small", 22_056_576), ("base", 86_580_480), ("large", 304_368_640)]
)
def test_the_sizes_are_those_of_dinov2(name: str, parameters: int) -> None:
    size = foundation.TRANSFORMERS[f"dinov2-{name}"]
    entries = {key: value for key, value in size.config.items() if key != "model_type"}
    with torch.device("meta"):
        model = transformers.Dinov2Model(transformers.Dinov2Config(**entries))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_random_weights_follow_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = FoundationEncoder(TINY, 0).state_dict()
    torch.manual_seed(2)
    again, other = FoundationEncoder(FROZEN, 0).state_dict(), FoundationEncoder(TINY, 1).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_weights_are_known_by_their_content(snapshot: Path, tmp_path: Path) -> None:
    moved = tmp_path / "weights" / TINY
    shutil.copytree(snapshot, moved)
    file = moved / "model.safetensors"
    assert weights_file(TINY, FROZEN, tmp_path / "weights") == file  # the default: the network's name
    named = load_weights(TINY, FoundationEncoder(TINY), tmp_path / "weights")
    assert named.name == TINY and named.sha256 == sha256_of(file)
    assert load_weights(str(snapshot), FoundationEncoder(TINY), tmp_path).sha256 == named.sha256
    model = transformers.Dinov2Model.from_pretrained(moved)
    with torch.no_grad():
        model.layernorm.weight += 1
    model.save_pretrained(moved)
    assert load_weights(TINY, FoundationEncoder(TINY), tmp_path / "weights").sha256 != named.sha256


def changed(folder: Path, **entries: Any) -> None:
    config = json.loads((folder / "config.json").read_text()) | entries
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no folder", "no file config.json; expected a local snapshot of dinov2-tiny"),
        ("no weights", "no file model.safetensors"),
        ("another size", "has hidden_size 384, expected 32 for dinov2-tiny"),
        ("another network", "has model_type 'vit', expected 'dinov2'"),
        ("no JSON", "is no JSON"),
        ("cut short", "cannot be read"),
        ("a weight missing", "does not fit dinov2-tiny: 1 missing"),
        ("not finite", "NaN or infinite"),
    ],
)
def test_a_wrong_snapshot_is_refused_in_one_line(
    fault: str, message: str, snapshot: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(snapshot, folder)
    file = folder / "model.safetensors"
    if fault == "no folder":
        shutil.rmtree(folder)
    elif fault == "no weights":
        file.unlink()
    elif fault == "another size":
        changed(folder, hidden_size=384)
    elif fault == "another network":
        changed(folder, model_type="vit")
    elif fault == "no JSON":
        (folder / "config.json").write_text("{")
    elif fault == "cut short":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        from safetensors.torch import load_file, save_file

        state = load_file(file)
        if fault == "a weight missing":
            del state["layernorm.weight"]
        else:
            state["layernorm.weight"][0] = torch.nan
        save_file(state, file, metadata={"format": "pt"})
    encoder = FoundationEncoder(TINY)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with pytest.raises(UserError, match=message) as caught:
        load_weights(str(folder), encoder, tmp_path)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        UserError, match=r"needs the extra foundation.*pip install 'fewshot-medseg\[foundation\]'"
    ):
        FoundationEncoder("dinov2-small")


@pytest.mark.parametrize(
    ("method", "name"), [(method, name) for method in METHODS for name in (TINY, FROZEN)] + [("gmrd", TINY)]
)
def test_every_learner_of_prototypes_works_on_tokens(method: str, name: str) -> None:
    cls = resolve_method(method)
    torch.manual_seed(0)
    learner = cls(encoder_for(cls, name, 0), cls.Options())
    trained = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    assert bool(trained) == (name == TINY or method not in ("ssl-alpnet", "panet", "kmeans"))
    if trained:
        result = next(one for one in map(partial(loss_of, learner.train()), "abcdefgh") if bool(one.defined))
        result.total.backward()
    gradients = [p.grad for p in learner.encoder.backbone.parameters() if p.grad is not None]
    assert any(bool(one.abs().sum() > 0) for one in gradients) == (name == TINY)
    support, query = segment_inputs("tokens", queries=1)
    predicted = learner.eval().segment(support, query)
    assert predicted.shape == (1, 64, 64) and bool(predicted.isfinite().all())


def loss_of(learner: PrototypeLearner, name: str) -> LossResult:
    shown = episode(name)
    prepared = {key: value[None] for key, value in learner.prepare(shown.support_masks[0]).items()}
    return learner.loss(dataclasses.replace(shown, prepared=prepared))


def test_a_run_trains_and_evaluates_and_records_the_snapshot(
    snapshot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    tiny_store(work / "stores" / "tiny")
    command = ["run", "--work", str(work), "--dataset", "tiny", "--folds", "0", "--groups", "upper"]
    start = ["--method", "panet", "--weights", str(snapshot)]
    assert main([*command, *start, "--encoder", TINY, "--steps", "2"]) == 0
    (path,) = (work / "records").glob("*.json")
    record = read_record(path)
    sha256 = sha256_of(snapshot / "model.safetensors")
    assert record.model.encoder == TINY and record.method.labels_used == "external"
    assert record.model.initial_weights is not None
    assert (record.model.initial_weights.name, record.model.initial_weights.sha256) == ("tiny", sha256)
    assert main([*command, *start, "--encoder", FROZEN, "--steps", "2"]) == 2
    assert "panet on dinov2-tiny-frozen has no weight to train" in capsys.readouterr().err
    assert main([*command, *start, "--encoder", FROZEN, "--steps", "0"]) == 0
    assert len(list((work / "records").glob("*.json"))) == 2


def test_a_default_names_a_folder_and_a_dinov2_has_no_first_stage(tmp_path: Path) -> None:
    method = build_method_config("ssl-alpnet", {}, encoder="dinov2-base-frozen")
    assert method.recipe is not None and method.recipe.weights == "dinov2-base"
    with pytest.raises(UserError, match="known: dinov2-base, dinov2-base-frozen"):
        build_method_config("ssl-alpnet", {}, encoder="dinov3")
    tiny_store(tmp_path / "stores" / "tiny")
    start = ["--work", str(tmp_path), "--dataset", "tiny", "--encoder", "dinov2-small"]
    assert main(["probe", *start]) == 2
    assert main(["run", *start, "--method", "densemp"]) == 2
