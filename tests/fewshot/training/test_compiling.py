"""The compiled training step: the same numbers to rounding, one graph, resumable, or refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from places import ROOT
from torch import Tensor, nn
from torch._dynamo.utils import counters

from baselines.dspnet.model import DSPNet
from baselines.ssl_alpnet import SSLALPNet
from fewshot.base.errors import UserError
from fewshot.base.types import Episode
from fewshot.learners.learner import LossResult, PrototypeLearner
from fewshot.learners.recipe import Recipe
from fewshot.training.compile_step import CACHE, _choose_own_cache, compile_loss
from fewshot.training.loop import train

CPU = torch.device("cpu")
RECIPE = Recipe(steps=6, learning_rate=0.01, snapshot_every=0, encoder="toy", weights="random")


class ToyEncoder(nn.Module):
    """A convolution and a BatchNorm: (N,1,64,64) -> (N,8,8,8)."""

    out_channels = 8

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 8, stride=8, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        with torch.no_grad():
            self.body[0].weight.normal_(generator=torch.Generator().manual_seed(1))

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.body(images)
        return features


class Asking(SSLALPNet):
    """A method that asks the device for a number."""

    def logits(self, support_features: Any, *rest: Any, **context: Any) -> tuple[Tensor, Tensor]:
        if float(support_features.mean()) > 0.5:
            support_features = support_features * 2
        return super().logits(support_features, *rest, **context)


def learner(cls: type[PrototypeLearner] = SSLALPNet) -> PrototypeLearner:
    made: PrototypeLearner = cls(ToyEncoder())
    return made


def episode(step: int, made: PrototypeLearner) -> Episode:
    """An episode of its own for every step; that of step 2 has no background, so it has no loss."""
    generator = torch.Generator().manual_seed(step)
    masks = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    masks[..., 8:48, 8 : 24 + 2 * step] = True
    if step == 2:
        masks[:] = True
    prepared = {name: value[None] for name, value in made.prepare(masks[0]).items()}
    images = torch.randn(2, 1, 1, 1, 64, 64, generator=generator)
    return Episode(images[0], masks, images[1], masks.roll(3, -1), prepared, f"0:{step}:1")


def trained(folder: Path, made: PrototypeLearner, stop_at: int | None = None, compiled: bool = True) -> None:
    def episodes(steps: range) -> Iterator[Episode]:
        for step in steps:
            if step == stop_at:
                raise InterruptedError
            yield episode(step, made)

    train(made, RECIPE, folder, seed=0, device=CPU, episodes=episodes, checkpoint_every=2, compiled=compiled)


@pytest.mark.slow
@pytest.mark.parametrize("cls", [SSLALPNet, DSPNet])
def test_the_same_training_to_rounding_from_one_graph(
    tmp_path: Path, cls: type[PrototypeLearner], request: pytest.FixtureRequest
) -> None:
    if cls is DSPNet:  # the graph is its own; the C++ of one method shows that of all
        request.getfixturevalue("as_traced")
    plain, ours = learner(cls), learner(cls)
    trained(tmp_path / "plain", plain, compiled=False)
    torch._dynamo.reset()  # type: ignore[no-untyped-call]
    counters.clear()
    trained(tmp_path / "whole", ours)
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-4, atol=1e-5, msg=name)
    rows = [(tmp_path / name / "losses.csv").read_text().splitlines() for name in ("plain", "whole")]
    flags = [[row.rsplit(",", 1)[1] for row in some] for some in rows]
    assert flags[0] == flags[1] and len(set(flags[0][1:])) == 2, "one step alone has no loss"


@pytest.mark.slow
def test_an_interrupted_training_ends_in_the_same_bytes(tmp_path: Path) -> None:
    trained(tmp_path / "once", learner())
    with pytest.raises(InterruptedError):
        trained(tmp_path / "twice", learner(), stop_at=3)
    trained(tmp_path / "twice", learner())
    for name in ("last.pt", "losses.csv"):
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()


def test_a_training_does_not_go_on_otherwise_than_it_began(tmp_path: Path) -> None:
    trained(tmp_path, learner(), compiled=False)
    with pytest.raises(UserError, match="belongs to a training with"):
        trained(tmp_path, learner())


def test_a_loss_that_is_no_single_graph_is_refused_in_one_line() -> None:
    made = learner(Asking)
    with pytest.raises(
        UserError, match=r"--compile: torch can't compile the training step \(.+\); leave it out"
    ) as said:
        compile_loss(made.loss, CPU)(episode(0, made))
    assert "\n" not in str(said.value)


class Weight(nn.Module):
    """One number to learn."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(start))

    def loss(self, image: Tensor) -> LossResult:
        total = (self.weight * image).square().mean()
        return LossResult(total, {"query": total}, total >= 0, (total < 0).sum())


@pytest.mark.slow
def test_more_models_in_one_process_than_torch_compiles_of_one_function() -> None:
    """As a run of two groups and five folds has them; torch's limit is 8."""
    image = torch.ones(4)
    for number in range(10):
        made = Weight(float(number))
        total = compile_loss(made.loss, CPU)(image).total
        total.backward()  # type: ignore[no-untyped-call]
        assert total.item() == number**2 and made.weight.grad is not None
        assert made.weight.grad.item() == 2 * number


DIES = """
import os, signal, sys
from pathlib import Path
import torch
from fewshot.learners.learner import LossResult
from fewshot.training.compile_step import CACHE, compile_loss

weight = torch.ones(3, requires_grad=True)

def loss(image):
    total = (weight * image).square().mean()
    return LossResult(total, {"query": total}, total >= 0, (total < 0).sum())

compile_loss(loss, torch.device("cpu"))(torch.ones(3)).total.backward()
libraries = list(Path(os.environ[CACHE]).rglob("*.so"))
assert libraries and weight.grad is not None
print(os.environ[CACHE])
if sys.argv[1] == "die":  # as the compiler leaves a library that it was writing
    for library in libraries:
        library.write_bytes(library.read_bytes()[:100])
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_what_a_killed_process_compiled_harms_no_other(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environment.pop(CACHE, None)
    folders = []
    for how, status in (("die", -signal.SIGKILL), ("end", 0)):
        run = subprocess.run(
            [sys.executable, "-c", DIES, how], capture_output=True, text=True, env=environment, check=False
        )
        assert run.returncode == status, run.stderr
        folders.append(Path(run.stdout.strip()))
    assert folders[0] != folders[1] and {folder.parent for folder in folders} == {tmp_path}
    assert not any(folder.exists() for folder in folders)  # the dead one's is removed too


def test_a_folder_that_the_user_named_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE, str(tmp_path))
    _choose_own_cache.cache_clear()
    _choose_own_cache()
    assert os.environ[CACHE] == str(tmp_path)
    _choose_own_cache.cache_clear()


@pytest.mark.slow
def test_what_it_returns_is_a_loss() -> None:
    made = learner()
    found = compile_loss(made.loss, CPU)(episode(0, made))
    assert isinstance(found, LossResult) and found.parts.keys() == {"query", "alignment"}
