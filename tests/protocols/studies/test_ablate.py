"""Ablations: hand-worked means and intervals, the table of a tiny training, and what is refused."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import making
import pytest
from scipy import stats

from baselines.dspnet.explanation import VARIANTS
from baselines.dspnet.model import DSPNet
from baselines.yardsticks import CopySupport
from fewshot.base.errors import UserError
from fewshot.commands.main import main
from protocols.studies.ablations import build_ablation
from results.comparison.ablation import AblationRow, ablation_table
from results.records.files import read_records
from results.records.record import Record
from results.records.record_parts import Score

MODEL = ["--encoder", "resnet18", "--weights", "random", "--steps", "1"]
ASKED = ["--dataset", "tiny", "--setting", "2", "--folds", "0", "--groups", "upper"]


def score(name: str, scan: str, dice: float | None, support: str = "9") -> Score:
    return Score(name, scan, (support,), 1, 0, 0, 0, dice, None)


def record(fold: int, scores: list[Score], **more: Any) -> Record:
    """Return a record of group g, whose classes are a and b; its Dice are as given, not those of counts."""
    whole = making.record(
        fold, "g", [making.score("a", "1", 1), making.score("b", "1", 1)],
        grid={"folds": 2, "groups": {"g": ["a", "b"]}}, setting=1, training={"slices_excluded": 0},
        method={"name": "dspnet"}, **{"model": {"steps": 1}, **more},
    )  # fmt: skip
    return dataclasses.replace(whole, scores=tuple(scores))


def seed_records(*dices: float, seed: int = 0) -> list[Record]:
    """Return the records of one seed: two scans in each fold, both with the fold's Dice in both classes."""
    return [
        record(
            fold,
            [score(name, f"{fold}{scan}", dice) for name in ("a", "b") for scan in range(2)],
            model={"steps": 1, "seed": seed},
        )
        for fold, dice in enumerate(dices)
    ]


def test_the_interval_is_t_over_paired_folds_and_marked_with_one_seed() -> None:
    ours, theirs = (0.6, 0.75), (0.5, 0.7)
    rows = [AblationRow(label, {0: seed_records(*dices)}) for label, dices in (("x", theirs), ("y", ours))]
    low, high = stats.ttest_1samp([0.10, 0.05], 0).confidence_interval(0.95)
    text = ablation_table(rows)
    assert f"+7.50  {100 * low:+.2f} to {100 * high:+.2f}, 1 seed" in text
    assert (
        "interval: t over fold differences alone, 1 seed; no level is claimed." in text and "95 %" not in text
    )


def test_seeds_are_paired_and_their_variance_is_added() -> None:
    """Seeds that move both rows alike cancel; seeds that move one row widen its interval."""
    theirs = {seed: seed_records(0.5 + shift, 0.7 + shift, seed=seed) for seed, shift in enumerate((0, 0.1))}
    alike = {seed: seed_records(0.6 + shift, 0.75 + shift, seed=seed) for seed, shift in enumerate((0, 0.1))}
    fixed = {seed: seed_records(0.65, 0.80, seed=seed) for seed in range(2)}
    widths = []
    for ours in (alike, fixed):
        text = ablation_table([AblationRow("x", theirs), AblationRow("y", ours)])
        low, high = text.splitlines()[6].split("  ")[-1].split(" to ")
        widths.append(float(high) - float(low))
        assert "1 seed" not in text and "interval: 95 %" in text
    low, high = stats.ttest_1samp([0.10, 0.05], 0).confidence_interval(0.95)
    assert widths[0] == pytest.approx(100 * (high - low), abs=0.02) and widths[1] > widths[0]


def test_the_table_by_hand() -> None:
    def seeds(*values: float) -> dict[int, list[Any]]:
        return {
            seed: [record(0, [score("a", "1", value), score("b", "1", value)])]
            for seed, value in enumerate(values)
        }

    rows = [AblationRow("neither", seeds(0.5, 0.6, 0.7)), AblationRow("both", seeds(0.8, 0.8, 0.8))]
    text = ablation_table(rows)
    lines = [line.split() for line in text.splitlines()]
    assert lines[3] == ["modules", "a", "b", "mean", "±", "seeds", "minus", "neither", "interval"]
    assert lines[5] == ["neither", "60.00", "60.00", "60.00", "10.00"]
    assert lines[6] == ["both", "80.00", "80.00", "80.00", "0.00", "+20.00", "-"]
    assert (
        "INCOMPLETE: 1 of 2 cells" in text and "initial weights: RANDOM" in text and "seeds 0, 1, 2" in text
    )
    marked = [record(0, [score("a", "1", 0.5), score("b", "1", None)], audits=["a mark"])]
    alone = ablation_table([AblationRow("neither", {0: marked}), AblationRow("both", {0: marked})])
    assert "MARKED: a mark" in alone and "undefined scores, left out of their means: 2" in alone
    assert "undefined" in alone.splitlines()[5] and alone.splitlines()[5].split()[-1] == "-"


def test_any_method_with_rows_is_run_row_by_row(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two equal rows of a yardstick differ by nothing, in no draw."""
    monkeypatch.setattr(CopySupport, "ablations", {"first": {}, "second": {}}, raising=False)
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
    labels = list(DSPNet.ablations)
    assert [line.split("  ")[0] for line in printed.splitlines()[5:9]] == labels
    assert "seeds 0, 1, 2" in printed and printed.startswith("ablation of dspnet on tiny, setting 2")
    records = read_records(module_work / "records")
    found = {(r.method.options["fspa"], r.method.options["bcma"], r.model.seed) for r in records}
    assert len(records) == 12 and found == set(itertools.product((False, True), (False, True), (0, 1, 2)))
    # with nothing left to train, and from nothing for one row and seed, byte for byte
    assert main(["ablate", "dspnet", "--work", str(module_work), *ASKED, *MODEL]) == 0
    assert capsys.readouterr().out == printed
    run = ["run", "--work", str(work), *ASKED, "--method", "dspnet", *MODEL, "--seed", "2"]
    assert main([*run, "--option", "fspa=false"]) == 0
    (path,) = (work / "records").iterdir()
    assert path.read_bytes() == (module_work / "records" / path.name).read_bytes()


MISTAKES: list[tuple[list[str], str]] = [
    (["panet", *ASKED], "method 'panet' has no ablations; built-in methods that have: densemp, dspnet"),
    (["dspnet", *ASKED, "--seeds", "0,x"], "--seeds '0,x': expected different whole numbers"),
    (["dspnet", *ASKED, "--seeds", "1,1"], "--seeds '1,1': expected different whole numbers"),
    (["dspnet", *ASKED, "--option", "bcma=true"], "--option bcma: the rows of the ablation set it"),
    (["dspnet", *ASKED, "--option", "treshold=0.9"], "did you mean 'threshold'"),
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
    methods = build_ablation("dspnet", {"threshold": "0.9"}, (3, 5), **given)  # type: ignore[arg-type]
    assert {label: (m[0].options.fspa, m[0].options.bcma) for label, m in methods.items()} == VARIANTS
    assert all([one.seed for one in m] == [3, 5] and m[0].options.threshold == 0.9 for m in methods.values())
    with pytest.raises(UserError, match="has no ablations"):
        build_ablation("qnet", {}, (0,), **given)  # type: ignore[arg-type]
