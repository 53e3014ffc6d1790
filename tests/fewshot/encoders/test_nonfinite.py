"""NaN and infinite weights or scores stop a cell with one line, and nothing is recorded."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from broken_learners import SegmentOnly, Sound
from cell_plans import CPU, plans_of, reader_of
from seal_again import save_checkpoint
from small_encoder import SmallEncoder
from tiny import tiny_store
from torch import Tensor, nn
from toy_training import ToyLearner, toy_train

from baselines.ssl_alpnet import SSLALPNet
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.types import SliceRef, Support, Task
from fewshot.commands.main import main
from fewshot.encoders.checkpoints import load_released, load_state, load_weights, weights_are_finite
from fewshot.encoders.encoder import build_encoder
from fewshot.files.seals import hash_file
from protocols.cells.evaluate import evaluate

ASKED = ["--dataset", "tiny", "--folds", "0"]
BUILT = ["--method", "ssl-alpnet", "--encoder", "resnet18", "--weights", "random"]
TRAINED = [*BUILT, "--steps", "0"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return tiny_store(tmp_path_factory.mktemp("stores") / "tiny")


@pytest.fixture
def work(tmp_path: Path, store: Store) -> Path:
    shutil.copytree(store.path, tmp_path / "work" / "stores" / "tiny")
    return tmp_path / "work"


def spoil(path: Path, name: str, value: float = float("nan")) -> int:
    """Put `value` into every entry of one tensor of a checkpoint file; return how many there are."""
    content = torch.load(path, weights_only=True)
    tensors = content.get("model", content)
    tensors[name].fill_(value)
    if hash_file(path).is_file():
        save_checkpoint(path, content)
    else:
        torch.save(content, path)
    return int(tensors[name].numel())


def error_of(capsys: pytest.CaptureFixture[str], command: list[str]) -> str:
    capsys.readouterr()
    assert main(command) == 2
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("fewshot: error: ")]
    return line


def recorded(work: Path) -> list[Path]:
    return [path for name in ("records", "predictions") for path in (work / name).glob("*")]


def test_our_own_checkpoint(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`run` and `evaluate KEY` on last.pt, and `evaluate --checkpoint` on a copy under another name."""
    run = ["run", "--work", str(work), *ASKED, *TRAINED]
    assert main(run) == 0
    for path in recorded(work):
        path.unlink()
    (last,) = work.glob("models/*/last.pt")
    count = spoil(last, "encoder.backbone.layer1.0.conv1.weight")
    said = f"{last} holds {count} NaN or infinite values in 1 of "
    name = "first 'encoder.backbone.layer1.0.conv1.weight'; expected finite weights: "
    line = error_of(capsys, [*run, "--save-predictions"])
    assert said in line and f"{name}delete it to train anew" in line
    line = error_of(capsys, ["evaluate", last.parent.name[:8], "--work", str(work), *ASKED])
    assert said in line and f"{name}give another file, or train again" in line
    other = shutil.copy(last, work / "other.pt")
    external = ["evaluate", "--work", str(work), *ASKED, *BUILT[:4], "--setting", "1", "--checkpoint"]
    line = error_of(capsys, [*external, str(other)])
    assert f"{other} holds {count} NaN" in line and name in line
    assert recorded(work) == []


def test_a_backbone_file(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = work / "backbone.pth"
    torch.save(build_encoder("resnet18", 0).backbone.state_dict(), path)
    spoil(path, "bn1.running_var", float("inf"))
    weights = [*TRAINED[:4], "--weights", str(path), "--steps", "0"]
    line = error_of(capsys, ["run", "--work", str(work), *ASKED, *weights])
    assert f"{path} holds 64 NaN or infinite values in 1 of " in line and "first 'bn1.running_var'" in line
    assert recorded(work) == []


def test_snapshots_that_a_checkpoint_policy_compares(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [*BUILT, "--steps", "2", "--option", "snapshot_every=1"]
    run = ["run", "--work", str(work), *ASKED, *steps, "--checkpoint-policy", "oracle"]
    assert main(run) == 0
    for path in recorded(work):
        path.unlink()
    snapshots = sorted(work.glob("models/*/step_1.pt"))
    count = spoil(snapshots[0], "encoder.localconv.weight", float("-inf"))
    line = error_of(capsys, run)
    assert f"step_1.pt holds {count} NaN or infinite" in line and "first 'encoder.localconv.weight'" in line
    assert recorded(work) == []


@pytest.mark.parametrize("load", [load_released, lambda path, it: load_state(it, torch.load(path), path)])
def test_a_refused_file_leaves_the_learner(tmp_path: Path, load: Callable[[Path, nn.Module], None]) -> None:
    learner, path = SSLALPNet(build_encoder("resnet18", 1)), tmp_path / "file.pt"
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    torch.save(SSLALPNet(build_encoder("resnet18", 2)).state_dict(), path)
    spoil(path, "encoder.localconv.weight")
    with pytest.raises(UserError, match=r"file.pt holds \d+ NaN or infinite values"):
        load(path, learner)
    assert all(torch.equal(before[name], value) for name, value in learner.state_dict().items())


def test_unused_parts_of_a_file_may_hold_anything(tmp_path: Path) -> None:
    encoder, path = build_encoder("resnet18", 1), tmp_path / "file.pth"
    torch.save({**encoder.backbone.state_dict(), "fc.weight": torch.tensor([torch.nan])}, path)
    assert load_weights(str(path), encoder, tmp_path).name == "file.pth"


def test_weights_are_finite() -> None:
    learner = Sound(SmallEncoder(0))
    assert weights_are_finite(learner) and weights_are_finite(SegmentOnly())
    learner.encoder.norm.running_mean[3] = torch.inf
    assert not weights_are_finite(learner)


def test_a_step_that_breaks_the_weights_is_no_checkpoint(tmp_path: Path) -> None:
    class Diverges(ToyLearner):
        """The loss of step 8 is finite, its gradient is not."""

        steps = 0

        def loss(self, episode: Any) -> Any:
            result, self.steps = super().loss(episode), self.steps + 1
            root = 0 * torch.sqrt(0 * self.head.bias.sum())
            return dataclasses.replace(result, total=result.total + root) if self.steps == 8 else result

    said = r"the learner after step 8 holds \d+ NaN or infinite values .*lower learning_rate"
    with pytest.raises(UserError, match=said):
        toy_train(tmp_path, learner=Diverges())
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["last.pt", "step_5.pt"]
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 4


def test_weights_in_memory_are_looked_at(store: Store) -> None:
    plan = plans_of(store)[0]
    learner = Sound(SmallEncoder(0)).eval()
    learner.encoder.convolution.weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(UserError, match=r"the model holds 1 NaN .* first 'encoder.convolution.weight'"):
        evaluate(learner, [plan], reader_of(store, plan), device=CPU)


class NoScore:
    """Spoils one pixel of the slice that looks like `image`."""

    image: Tensor

    def spoiled(self, scores: Tensor, images: Tensor, value: float) -> Tensor:
        same = (images == self.image).flatten(1).all(dim=1)
        return torch.where(same[:, None, None] & (torch.arange(scores.shape[-1]) == 0), value, scores)


class SegmentsNan(NoScore, SegmentOnly):
    def segment(self, support: Support, query: Tensor) -> Tensor:
        return self.spoiled(super().segment(support, query), query, torch.nan)


class ComparesImages(NoScore, Sound):
    """Its features are the image."""

    value = torch.inf

    def encode(self, images: Tensor) -> Tensor:
        return images

    def logits(self, support: Tensor, masks: Tensor, query: Tensor, **_context: Any) -> Tensor:  # type: ignore[override]
        return torch.stack([self.spoiled(query[:, 0], query, self.value), -query[:, 0]], dim=1)


class ComparesNan(ComparesImages):
    value = torch.nan


def scored_slices(task: Task) -> list[SliceRef]:
    return [ref for ref, scored in zip(task.queries, task.scored, strict=True) if scored]


@pytest.mark.parametrize("method", [SegmentsNan, ComparesImages, ComparesNan])
@pytest.mark.parametrize("keeps", [False, True])
def test_scores_that_are_not_finite_name_class_scan_and_slice(store: Store, method: Any, keeps: bool) -> None:
    plan = plans_of(store)[1]
    task = [task for task in plan.tasks if any(task.scored)][-1]
    ref = task.queries[task.scored.index(True)]
    first = next(one for one in plan.tasks if ref in (one.queries if keeps else scored_slices(one)))
    learner = method(SmallEncoder(0)).eval() if issubclass(method, Sound) else method()
    learner.image = reader_of(store, plan).images([ref])[0]
    keep = (lambda *_: None) if keeps else None  # unscored slices are predicted too
    with pytest.raises(UserError) as caught:
        evaluate(learner, [plan], reader_of(store, plan), device=CPU, on_masks=keep)
    text = str(caught.value)
    assert text.startswith(
        f"class {first.class_name}, scan {ref.scan}, slice {ref.z}: 64 scores are NaN or infinite"
    )
    assert "\n" not in text and "nothing was recorded" in text


METHOD = '''
import torch
from dataclasses import dataclass

class Nan:
    trainable = False

    @dataclass(frozen=True)
    class Options:
        """None."""

    def __init__(self, options=None):
        self.options = options

    def segment(self, support, query):
        return torch.full_like(query[:, 0], torch.nan)
'''


def test_run_with_scores_that_are_not_finite_records_nothing(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "nan.py").write_text(METHOD)
    method = ["--method", f"{work / 'nan.py'}:Nan"]
    line = error_of(capsys, ["run", "--work", str(work), *ASKED, *method, "--save-predictions"])
    assert f"{64 * 64} scores are NaN or infinite (fold 0, group " in line
    assert recorded(work) == []


def test_the_host_reads_the_flags_of_scores_once_per_scan(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plans_of(store)[0]
    reads: list[int] = []
    whole = Tensor.tolist

    def counted(tensor: Tensor) -> Any:
        reads.append(tensor.numel())
        return whole(tensor)

    monkeypatch.setattr(Tensor, "tolist", counted)
    evaluate(Sound(SmallEncoder(0)).eval(), [plan], reader_of(store, plan), device=CPU)
    scored = sum(sum(task.scored) for task in plan.tasks)
    pairs = len(plan.classes) * len(plan.query_scans)  # the counts of a score are read at the end
    assert sum(reads) == scored + 3 * pairs and len(reads) == len(plan.query_scans) + pairs
