"""Learning curves worked by hand: means, cells in common, yardsticks on the same scans, refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from places import ROOT

from fewshot.base.errors import UserError
from fewshot.commands.main import main
from results.figures.curve_figure import caption, draw_curves
from results.leaderboard.learning_curve import learning_curves
from results.records.files import read_records, write_record
from results.records.record import Record
from results.records.record_parts import SelectedPart

ASK = ("phantom-mri", 1)
STEPS = (10, 20, 30)


@pytest.fixture(scope="module")
def measured() -> list[Record]:
    """The committed records of phantoms."""
    return read_records(ROOT / "results" / "data" / "phantoms")


def cells_of(records: Sequence[Record], method: str) -> list[Record]:
    return [record for record in records if record.method.name == method]


def with_curve(record: Record, dices: Sequence[float], seed: int, policy: str = "validation") -> Record:
    """Return a record as a run under a checkpoint policy writes it; the scan before fold 0 is the last."""
    scan = str((4 * record.fold - 1) % 20)
    on = f"scan {scan}" if policy == "validation" else "the test fold"
    best = max(dices)
    selected = SelectedPart(STEPS[list(dices).index(best)], STEPS, on, best, tuple(dices))
    model = replace(record.model, checkpoint=policy, selected=selected, seed=seed)  # type: ignore[arg-type]
    training = replace(record.training, scans=tuple(s for s in record.training.scans if s != scan))
    return replace(record, model=model, training=training, key=None)


@pytest.fixture(scope="module")
def trained(measured: list[Record]) -> list[Record]:
    """Two seeds on all cells: seed 0 rises, seed 1 falls in fold 0 and rises elsewhere."""
    made = []
    for record in cells_of(measured, "adnet"):
        made.append(with_curve(record, (0.1, 0.2, 0.6 if record.group == "upper" else 0.4), 0))
        made.append(with_curve(record, (0.5, 0.3, 0.1) if record.fold == 0 else (0.1, 0.3, 0.5), 1))
    return made


def test_means_over_groups_folds_and_seeds(measured: list[Record], trained: list[Record]) -> None:
    folds = trained[0].grid.folds
    made = learning_curves([*measured, *trained], *ASK)
    (curve,) = made.curves
    assert "2 seeds" in curve.label and curve.label.startswith("adnet")
    assert curve.seeds.xs(0, level="seed").tolist() == pytest.approx([0.1, 0.2, 0.5])
    falls = [(0.5 + (folds - 1) * 0.1) / folds, 0.3, (0.1 + (folds - 1) * 0.5) / folds]
    assert curve.seeds.xs(1, level="seed").tolist() == pytest.approx(falls)
    assert curve.mean.index.tolist() == list(STEPS)
    assert curve.mean.tolist() == pytest.approx(
        [(a + b) / 2 for a, b in zip((0.1, 0.2, 0.5), falls, strict=True)]
    )
    assert made.scans == {0: "19", 1: "3", 2: "7", 3: "11", 4: "15"} and made.left_out == ()


def test_a_yardstick_is_measured_on_the_validation_scans_alone(
    measured: list[Record], trained: list[Record]
) -> None:
    """The level is that of scans 19, 3, 7, 11, 15: the mean over classes, groups, scans, from the scores."""
    made = learning_curves([*measured, *trained], *ASK)
    levels = dict(made.yardsticks)
    assert set(levels) == {"all-foreground", "copy-support", "register-support"}
    copied = cells_of(measured, "copy-support")
    expected = []
    for scan in made.scans.values():
        by_group = []
        for group in ("upper", "lower"):
            dices = [
                score.dice
                for record in copied
                if record.group == group
                for score in record.scores
                if score.scan == scan and score.dice is not None
            ]
            by_group.append(sum(dices) / len(dices))
        expected.append(sum(by_group) / len(by_group))
    assert levels["copy-support"] == pytest.approx(sum(expected) / len(expected))
    partial = [record for record in measured if record.method.name != "copy-support" or record.fold != 4]
    lacking = learning_curves([*partial, *trained], *ASK)
    assert dict(lacking.yardsticks).keys() == {"all-foreground", "register-support"}
    assert lacking.left_out == ("copy-support: no Dice of scan 19; run its missing cells",)


def test_curves_cover_the_cells_that_all_have(trained: list[Record]) -> None:
    few = [record for record in trained if record.model.seed == 0 or record.fold == 0]
    made = learning_curves(few, *ASK)
    assert made.scans == {0: "19"} and "8 cells that some curve lacks" in made.left_out
    assert made.curves[0].mean.tolist() == pytest.approx([0.3, 0.25, 0.3])
    apart = [record for record in trained if (record.model.seed == 0) == (record.fold == 0)]
    with pytest.raises(UserError, match="no fold and group in common"):
        learning_curves(apart, *ASK)


def test_no_curve_is_of_a_test_fold(measured: list[Record], trained: list[Record]) -> None:
    oracle = [with_curve(record, (0.1, 0.2, 0.3), 0, "oracle") for record in cells_of(measured, "panet")]
    with pytest.raises(UserError, match="run it with --checkpoint-policy validation"):
        learning_curves([*measured, *oracle], *ASK)
    made = learning_curves([*trained, *oracle], *ASK)
    assert len(made.curves) == 1
    assert made.left_out == (f"{len(oracle)} records that chose their checkpoint on the test fold (oracle)",)


def test_the_picture_says_what_it_is_of_and_repeats(
    measured: list[Record], trained: list[Record], tmp_path: Path
) -> None:
    made = learning_curves([*measured, *trained], *ASK)
    assert "never of a test fold: scan 19 (fold 0), 3 (fold 1)" in caption(made)
    assert "from the supports of the folds that test them" in caption(made)
    first, again = (draw_curves(made, tmp_path / name / "curve") for name in ("a", "b"))
    assert [path.suffix for path in first] == [".svg", ".png", ".pdf"]
    assert [a.read_bytes() for a in first] == [b.read_bytes() for b in again]


def test_the_command_draws_the_curves_alone(
    trained: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str], unrendered: None
) -> None:
    for number, record in enumerate(trained[:4]):
        write_record(tmp_path / "records" / f"r{number}.json", record)
    ask = ["figures", "--work", str(tmp_path), "--dataset", "phantom-mri", "--curve"]
    assert main([*ask, "--out", str(tmp_path / "out")]) == 0
    kinds = {path.name for path in (tmp_path / "out").iterdir()}
    assert kinds == {f"learning-curve.{kind}" for kind in ("svg", "png", "pdf")}
    assert str(tmp_path / "out" / "learning-curve.png") in capsys.readouterr().out
    assert main([*ask, "--measure", "iou"]) == 2
    assert "--curve --measure iou: records hold the Dice alone" in capsys.readouterr().err
