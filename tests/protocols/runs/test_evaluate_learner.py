"""`fewshot.evaluate` and `fewshot.headline`: the scores of `fewshot run`, without training or files."""

from __future__ import annotations

import math
import pydoc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import tiny_store
from torch import Tensor, nn

import fewshot
from baselines.ssl_alpnet import SSLALPNet
from baselines.yardsticks import AllForeground, CopySupport
from fewshot.base.errors import UserError
from fewshot.base.types import Support
from fewshot.commands.main import main
from fewshot.encoders.encoder import build_encoder
from protocols.runs.evaluate_learner import COLUMNS
from results.records.files import read_record
from results.summary.configuration_result import configuration_results
from results.summary.frame import Spread, record_frame


class SameIntensity:
    """A learner with `segment` alone: foreground is a pixel as bright as the support's foreground."""

    def segment(self, support: Support, query: Tensor) -> Tensor:
        """Return probabilities (Q,H,W) for query slices (Q,1,H,W)."""
        foreground = support.images[:, 0][support.masks]
        return ((query[:, 0] - foreground.mean()).abs() < 2 * foreground.std()).float()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    tiny_store(folder / "stores" / "tiny")
    return folder


@pytest.fixture(scope="module")
def copied(work: Path) -> pd.DataFrame:
    """The frame of copy-support on every fold and group."""
    return fewshot.evaluate(CopySupport(), dataset="tiny", work=work, device="cpu")


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_the_frame_is_what_run_records(work: Path, copied: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "stores").symlink_to(work / "stores")
    run = ["run", "--method", "copy-support", "--dataset", "tiny", "--device", "cpu", "--work", str(tmp_path)]
    assert main(run) == 0
    records = [read_record(path) for path in (tmp_path / "records").glob("*.json")]
    records.sort(key=lambda record: (record.fold, list(copied["group"].unique()).index(record.group)))
    pd.testing.assert_frame_equal(copied, record_frame(records)[list(COLUMNS)])
    (result,) = configuration_results(records)
    assert fewshot.headline(copied) == result.spread() is not None


def test_nothing_is_written(work: Path) -> None:
    before = files(work)
    fewshot.evaluate(AllForeground(), dataset="tiny", work=work, folds=(0,), device="cpu")
    assert files(work) == before


def test_a_learner_with_segment_alone_and_a_store_by_its_path(work: Path, tmp_path: Path) -> None:
    """The counts of all classes equal a loop over labels that knows nothing of protocols or predictors."""
    frame = fewshot.evaluate(SameIntensity(), dataset=work / "stores" / "tiny", folds=(1,), work=tmp_path)
    assert set(frame["fold"]) == {1} and set(frame["dataset"]) == {"tiny"}
    assert set(frame["class"]) == {"liver", "right-kidney", "left-kidney", "spleen"}
    counts = 2 * frame["tp"] / (2 * frame["tp"] + frame["fp"] + frame["fn"])
    np.testing.assert_allclose(frame["dice"], counts, rtol=1e-15)
    assert frame["dice"].mean() > 0.3  # organs differ by brightness, so this beats chance by far


def test_all_foreground_has_the_dice_of_the_class_share(work: Path) -> None:
    """True positives and false negatives follow from the labels: a mask of ones misses nothing."""
    frame = fewshot.evaluate(AllForeground(), dataset="tiny", work=work, folds=(0,), device="cpu")
    assert (frame["fn"] == 0).all() and (frame["tp"] > 0).all()
    assert (frame["tp"] + frame["fp"] == frame["slices"] * 64 * 64).all()


def test_a_prototype_learner_keeps_its_weights_and_takes_chosen_groups(work: Path) -> None:
    learner = SSLALPNet(build_encoder("resnet18", 3)).eval()
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    one = fewshot.evaluate(learner, dataset="tiny", work=work, folds=(2,), groups=("upper",), batch=1)
    two = fewshot.evaluate(learner, dataset="tiny", work=work, folds=(2,), groups=("upper",), batch=3)
    pd.testing.assert_frame_equal(one, two)
    assert set(one["group"]) == {"upper"}
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())


class Unstable(nn.Module):
    """A module with weights, for the checks of mode and device."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1)

    def segment(self, support: Support, query: Tensor) -> Tensor:
        """Return probabilities (Q,H,W)."""
        return torch.sigmoid(self.layer(query)[:, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "tinny"}, "unknown dataset.*'tinny'.*did you mean 'tiny'"),
        ({"dataset": "chaost2"}, "'chaost2' is not prepared.*fewshot prepare chaost2"),
        ({"dataset": "no/such/store"}, "holds no index.json|index.json"),
        ({"protocol": "alpnet-ep"}, "unknown protocol.*did you mean 'alpnet-ep1'"),
        ({"setting": 3}, "setting=3: expected 1 or 2"),
        ({"folds": (5,)}, "folds=.*expected numbers from 0 to 4"),
        ({"folds": ()}, "folds="),
        ({"groups": ("uper",)}, "unknown group of tiny 'uper'.*did you mean 'upper'"),
        ({"groups": "upper"}, "groups='upper': expected names"),
        ({"batch": -1}, "batch=-1"),
        ({"device": "gpu"}, "device='gpu': expected auto, cpu"),
        ({"device": "cuda:99"}, "device='cuda:99': torch finds"),
        ({"learner": CopySupport}, "the class CopySupport, expected an object"),
        ({"learner": object()}, "type object without a method segment"),
        ({"learner": Unstable()}, "training mode; call learner.eval"),
        ({"learner": Unstable().eval().to("meta"), "device": "cpu"}, "the learner is on meta"),
    ],
)
def test_a_mistake_is_named(work: Path, change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"learner": CopySupport(), "dataset": "tiny", "work": work, "folds": (0,)}
    with pytest.raises(UserError, match=message):
        fewshot.evaluate(**(arguments | change))  # type: ignore[arg-type]


def test_a_score_that_is_not_finite_is_an_error(work: Path) -> None:
    class NotANumber:
        def segment(self, support: Support, query: Tensor) -> Tensor:
            return torch.full_like(query[:, 0], math.nan)

    with pytest.raises(UserError, match="NaN or"):
        fewshot.evaluate(NotANumber(), dataset="tiny", work=work, folds=(0,), device="cpu")


def made_frame(dice: dict[tuple[int, str, str], float]) -> pd.DataFrame:
    """Return a frame with one row for each (fold, class, scan)."""
    rows = [(fold, "g", name, scan, "0", value) for (fold, name, scan), value in dice.items()]
    return pd.DataFrame(rows, columns=["fold", "group", "class", "scan", "supports", "dice"])


def test_the_headline_averages_scans_then_classes_then_folds() -> None:
    """Fold 0: liver (0.2 + 0.4) / 2, spleen 0.5 (its other scan is undefined): 0.4. Fold 1: 0.7."""
    frame = made_frame(
        {
            (0, "liver", "1"): 0.2, (0, "liver", "2"): 0.4, (0, "spleen", "1"): 0.5,
            (0, "spleen", "2"): math.nan, (1, "liver", "3"): 0.6, (1, "spleen", "3"): 0.8,
        }
    )  # fmt: skip
    spread = fewshot.headline(frame)
    assert spread is not None and spread.std is not None
    assert spread.mean == pytest.approx(0.55, abs=1e-15)
    assert spread.std == pytest.approx(0.3 / math.sqrt(2), abs=1e-15)
    assert fewshot.headline(frame[frame["fold"] == 1]) == Spread(pytest.approx(0.7, abs=1e-15), None)
    assert fewshot.headline(made_frame({(0, "liver", "1"): math.nan})) is None


def test_the_headline_refuses_frames_without_one_meaning(copied: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="no column dice"):
        fewshot.headline(copied.drop(columns="dice"))
    with pytest.raises(UserError, match="twice"):
        fewshot.headline(pd.concat([copied, copied]))
    with pytest.raises(UserError, match="setting 1, 2, expected one"):
        fewshot.headline(pd.concat([copied, copied.assign(setting=2)]))
    with pytest.raises(UserError, match="fold 0 lacks upper liver"):
        fewshot.headline(copied[(copied["fold"] != 0) | (copied["class"] != "liver")])


def test_help_fits_on_a_few_screens() -> None:
    text = pydoc.plain(pydoc.render_doc(fewshot))
    assert len(text.splitlines()) < 120
    assert "fewshot.evaluate(learner" in text and "Traceback" not in text


def test_importing_fewshot_loads_neither_torch_nor_pandas() -> None:
    code = "import sys, fewshot; print([n for n in ('torch', 'pandas', 'protocols') if n in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
