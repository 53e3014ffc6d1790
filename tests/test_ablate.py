"""Ablations: hand-worked means and intervals, the table of a tiny training, and what is refused."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.dspnet_explained import VARIANTS
from fewshot.commands.main import main
from fewshot.errors import UserError
from protocols.ablations import ABLATIONS, ablated
from results.ablation import Row, ablation_table, dices_of, difference_interval, headline, over_seeds
from results.records import read_records

MODEL = ["--encoder", "resnet18", "--weights", "random", "--steps", "1"]
ASKED = ["--dataset", "tiny", "--setting", "2", "--folds", "0", "--groups", "upper"]


def score(name: str, scan: str, dice: float | None, support: str = "9") -> dict[str, Any]:
    return {"class": name, "scan": scan, "supports": [support], "dice": dice}


def record(fold: int, scores: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "protocol": {"name": "alpnet-ep1", "version": 1}, "dataset": {"name": "tiny"}, "train_dataset": None,
        "setting": 1, "fold": fold, "group": "g", "grid": {"folds": 2, "groups": {"g": ["a", "b"]}},
        "method": {"name": "dspnet", "labels_used": "none"}, "audits": [], "scores": scores,
        "model": {
            "encoder": "resnet18", "initial_weights": {"name": "random", "sha256": None}, "steps": 1,
            "checkpoint": "last",
        },
        **more,
    }  # fmt: skip


def one_class(*dices: float) -> dict[int, np.ndarray]:
    return {0: np.array([dices])}


def test_the_headline_is_folds_of_classes_of_scans() -> None:
    records = [
        record(0, [score("a", "1", 0.2), score("a", "2", 0.6), score("b", "1", 0.5), score("b", "2", None)]),
        record(1, [score("a", "3", 0.9), score("b", "3", 0.1)]),
    ]
    dices = dices_of(records)
    assert np.array_equal(dices[0], [[0.2, 0.6], [0.5, np.nan]], equal_nan=True)
    assert headline(dices) == pytest.approx(((0.4 + 0.5) / 2 + (0.9 + 0.1) / 2) / 2, abs=1e-15)


def test_supports_in_turn_are_averaged_before_scans() -> None:
    scores = [score("a", "1", 0.2, "8"), score("a", "1", 0.4, "9"), score("a", "2", 0.9, "8")]
    assert headline(dices_of([record(0, scores)])) == pytest.approx((0.3 + 0.9) / 2, abs=1e-15)


def test_scans_are_averaged_over_seeds_first() -> None:
    """A scan that one seed leaves undefined counts once, not for half a scan."""
    seeds = [one_class(0.2, np.nan), one_class(0.6, 0.9)]
    assert np.allclose(over_seeds(seeds)[0], [[0.4, 0.9]], atol=1e-15)
    assert headline(over_seeds(seeds)) == pytest.approx(0.65, abs=1e-15)


def test_one_scan_a_fold_leaves_no_doubt() -> None:
    ours = {0: np.array([[0.5], [0.7]]), 1: np.array([[0.9], [0.1]])}
    theirs = {0: np.array([[0.4], [0.4]]), 1: np.array([[0.6], [0.2]])}
    assert difference_interval(ours, theirs, draws=50) == pytest.approx((0.15, 0.15), abs=1e-15)


def test_the_interval_of_two_scans_is_their_range() -> None:
    """Each scan alone is drawn twice in a quarter of the draws, more than 2.5 % at either end."""
    found = difference_interval(one_class(0.5, 0.9), one_class(0.4, 0.6))
    assert found == pytest.approx((0.1, 0.3), abs=1e-15)


def test_the_interval_is_that_of_all_draws() -> None:
    """All 27 draws of three scans, listed, at the level whose ends are steps of probability 4/27."""
    differences = (0.0, 0.3, 0.9)
    every = sorted(np.mean(drawn) for drawn in itertools.product(differences, repeat=3))
    ours, theirs = one_class(0.1, 0.5, 1.0), one_class(0.1, 0.2, 0.1)
    low, high = difference_interval(ours, theirs, level=0.8)
    assert low == pytest.approx(every[2], abs=1e-12)  # 1/27 < 0.1 < 4/27
    assert high == pytest.approx(every[-3], abs=1e-12)


def test_scans_are_paired_and_drawn_within_folds() -> None:
    """Rows that differ by one constant have no interval, however much scans differ, as folds are kept."""
    ours = {0: np.array([[0.1, 0.9, 0.4]]), 1: np.array([[0.7, 0.2]])}
    theirs = {fold: dices - (0.25 if fold else 0.05) for fold, dices in ours.items()}
    assert difference_interval(ours, theirs) == pytest.approx((0.15, 0.15), abs=1e-12)


def test_a_class_without_a_drawn_dice_is_left_out_of_the_draw() -> None:
    ours = {0: np.array([[0.5, 0.5], [np.nan, 0.9]])}
    theirs = {0: np.zeros((2, 2))}
    low, high = difference_interval(ours, theirs)
    # both scans 0: class one alone, 0.5 - 0; else (0.5 + 0.9) / 2
    assert (low, high) == pytest.approx((0.5, 0.7), abs=1e-12)


def test_the_table_by_hand() -> None:
    def seeds(*values: float) -> dict[int, list[Any]]:
        return {
            seed: [record(0, [score("a", "1", value), score("b", "1", value)])]
            for seed, value in enumerate(values)
        }

    rows = [Row("neither", seeds(0.5, 0.6, 0.7)), Row("both", seeds(0.8, 0.8, 0.8))]
    text = ablation_table(rows)
    lines = [line.split() for line in text.splitlines()]
    assert lines[3] == ["modules", "a", "b", "mean", "±", "seeds", "minus", "neither", "95", "%", "interval"]
    assert lines[5] == ["neither", "60.00", "60.00", "60.00", "10.00"]
    assert lines[6] == ["both", "80.00", "80.00", "80.00", "0.00", "+20.00", "+20.00", "to", "+20.00"]
    assert (
        "INCOMPLETE: 1 of 2 cells" in text and "initial weights: RANDOM" in text and "seeds 0, 1, 2" in text
    )
    marked = [record(0, [score("a", "1", 0.5), score("b", "1", None)], audits=["a mark"])]
    alone = ablation_table([Row("neither", {0: marked}), Row("both", {0: marked})])
    assert "MARKED: a mark" in alone and "undefined scores, left out of their means: 2" in alone
    assert "undefined" in alone.splitlines()[5] and alone.splitlines()[5].split()[-1] == "-"


def test_any_method_with_rows_is_run_row_by_row(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two equal rows of a yardstick differ by nothing, in no draw."""
    monkeypatch.setitem(ABLATIONS, "copy-support", (("first", {}), ("second", {})))
    command = [
        "ablate",
        "copy-support",
        "--work",
        str(work),
        "--dataset",
        "tiny",
        "--seeds",
        "4,7",
    ]
    assert main(command) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[5].split()[0] == "first" and lines[6].split()[0] == "second"
    assert lines[6].split()[-4:] == ["+0.00", "+0.00", "to", "+0.00"]
    assert "seeds 4, 7" in lines[1] and "INCOMPLETE" not in printed
    assert len(read_records(work / "records")) == 5 * 2 * 2
    assert main(command) == 0 and capsys.readouterr().out == printed


@pytest.mark.slow
def test_four_rows_of_three_seeds_and_again_the_same(
    work: Path, module_work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ablate", "dspnet", "--work", str(module_work), *ASKED, *MODEL]) == 0
    printed = capsys.readouterr().out
    labels = [label for label, _options in ABLATIONS["dspnet"]]
    assert [line.split("  ")[0] for line in printed.splitlines()[5:9]] == labels
    assert "seeds 0, 1, 2" in printed and printed.startswith("ablation of dspnet on tiny, setting 2")
    records = read_records(module_work / "records")
    found = {
        (r["method"]["options"]["fspa"], r["method"]["options"]["bcma"], r["model"]["seed"]) for r in records
    }
    assert len(records) == 12 and found == set(itertools.product((False, True), (False, True), (0, 1, 2)))
    # with nothing left to train, and from nothing for one row and seed, byte for byte
    assert main(["ablate", "dspnet", "--work", str(module_work), *ASKED, *MODEL]) == 0
    assert capsys.readouterr().out == printed
    run = ["run", "--work", str(work), *ASKED, "--method", "dspnet", *MODEL, "--seed", "2"]
    assert main([*run, "--set", "fspa=false"]) == 0
    (path,) = (work / "records").iterdir()
    assert path.read_bytes() == (module_work / "records" / path.name).read_bytes()


MISTAKES: list[tuple[list[str], str]] = [
    (["panet", *ASKED], "method 'panet' has no ablations; methods that have: densemp, dspnet"),
    (["dspnet", *ASKED, "--seeds", "0,x"], "--seeds '0,x': wanted different whole numbers"),
    (["dspnet", *ASKED, "--seeds", "1,1"], "--seeds '1,1': wanted different whole numbers"),
    (["dspnet", *ASKED, "--set", "bcma=true"], "--set bcma: the rows of the ablation set it"),
    (["dspnet", *ASKED, "--set", "treshold=0.9"], "did you mean 'threshold'"),
    (["dspnet", "--dataset", "tny"], "unknown dataset 'tny'"),
]


@pytest.mark.parametrize(("command", "said"), MISTAKES, ids=[said for _command, said in MISTAKES])
def test_a_mistake_is_one_line(
    command: list[str], said: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ablate", "--work", str(work), *command]) == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1 and message.startswith("fewshot: error: ")


def test_every_row_has_its_options_over_the_typed_ones() -> None:
    given = {"encoder": "resnet18", "weights": "random", "steps": 1, "precision": "float32"}
    methods = ablated("dspnet", {"threshold": "0.9"}, (3, 5), **given)  # type: ignore[arg-type]
    assert {label: (m[0].options.fspa, m[0].options.bcma) for label, m in methods.items()} == VARIANTS
    assert all([one.seed for one in m] == [3, 5] and m[0].options.threshold == 0.9 for m in methods.values())
    with pytest.raises(UserError, match="has no ablations"):
        ablated("qnet", {}, (0,), **given)  # type: ignore[arg-type]
