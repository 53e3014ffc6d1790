"""Tables against means and deviations worked out by hand; what is missing is never averaged away."""

from __future__ import annotations

import csv
import io
import math
import random

import pytest
from making import changed, record, score

from fewshot.base.errors import UserError
from fewshot.base.types import ScanScore
from results.leaderboard.board import leaderboard
from results.leaderboard.board_tables import board_notes
from results.records.record import Record
from results.summary.configuration_result import configuration_results
from results.tables.fold_tables import render

LABELS = {"classes": ["left-kidney"], "support_scans": ["2"], "slices": 3, "hash": "f" * 16}


def complete(**changes: object) -> list[Record]:
    """Two folds, two groups. Liver 80 (90, 70), 60; spleen 40, 50; left kidney 30, 70 percent.

    Fold means: (80 + 40 + 30) / 3 = 50 and (60 + 50 + 70) / 3 = 60; headline 55, deviation
    sqrt(2 * 5^2 / 1) = 7.07. Group upper: 60 and 55, mean 57.5, deviation sqrt(12.5) = 3.54.
    """
    liver = [score("liver", "3", 90), score("liver", "4", 70)]
    return [
        record(0, "upper", [*liver, score("spleen", "3", 40)], **changes),
        record(1, "upper", [score("liver", "5", 60), score("spleen", "5", 50)], **changes),
        record(0, "lower", [score("left-kidney", "3", 30)], **changes),
        record(1, "lower", [score("left-kidney", "5", 70)], **changes),
    ]


def test_means_and_deviations_worked_out_by_hand() -> None:
    (block,) = configuration_results(complete())
    assert block.columns == (("lower", "left-kidney"), ("upper", "liver"), ("upper", "spleen"))
    assert block.class_dice(0, ("upper", "liver")) == pytest.approx(0.8)
    assert [block.fold_dice(fold) for fold in (0, 1)] == pytest.approx([0.5, 0.6])
    assert [block.group_dice(fold, "upper") for fold in (0, 1)] == pytest.approx([0.6, 0.55])
    spread, upper = block.spread(), block.group_spread("upper")
    assert spread is not None and upper is not None and spread.std is not None and upper.std is not None
    assert (spread.mean, spread.std) == pytest.approx((0.55, math.sqrt(0.005)))
    assert (upper.mean, upper.std) == pytest.approx((0.575, math.sqrt(0.00125)))
    assert block.missing == ()


def test_a_support_that_stood_in_is_told_and_splits_no_table() -> None:
    records = complete(method={"labels_used": "training-group"})
    for number, labels in enumerate([LABELS, {**LABELS, "support_scans": ["3"], "in_place_of": ["1"]}]):
        records[number] = changed(records[number], model={"labels": labels})
    (block,) = configuration_results(records)
    assert not block.missing
    (line,) = [line for line in render(records).splitlines() if "annotated episodes" in line]
    assert line.endswith("since no slice of the fold's shows a training class without a tested one: "
                         "fold 1 upper: scan 3 for 1")  # fmt: skip
    board = leaderboard(records, "tiny", 2)
    assert any("fold 1 upper: scan 3 for 1" in note for note in board_notes(board))


def test_text_shows_numbers_exclusion_skips_and_random_weights() -> None:
    lines = render(complete()).splitlines()
    fold0 = next(line for line in lines if line.startswith("0 ")).split()
    assert fold0 == ["0", "30.00", "80.00", "40.00", "30.00", "60.00", "50.00", "5/7", "1"]
    last = next(line for line in lines if line.startswith("mean ±"))
    assert last.endswith("55.00 ± 7.07") and "57.50 ± 3.54" in last
    text = "\n".join(lines)
    assert "initial weights: RANDOM" in text and "undefined scores: 0 of 7" in text
    assert "labels used in training: none" in text and "INCOMPLETE" not in text


def test_the_table_is_a_function_of_the_records_in_any_order() -> None:
    records = complete() + complete(model={"steps": 0, "skipped_episodes": 0})
    shuffled = records.copy()
    random.Random(3).shuffle(shuffled)
    for form in ("text", "md", "csv"):
        assert render(records, form) == render(shuffled, form)


def test_a_missing_cell_makes_the_block_incomplete_and_is_named() -> None:
    records = complete()
    del records[2]  # fold 0, lower
    (block,) = configuration_results(records)
    assert block.missing == ((0, "lower"),)
    assert block.spread() is None and block.group_spread("lower") is None and block.fold_dice(0) is None
    assert block.group_spread("upper") is not None and block.fold_dice(1) == pytest.approx(0.6)
    text = render(records)
    assert "INCOMPLETE: 1 cells are missing: lower: fold 0" in text
    assert "PARTIAL: mean 60.00 over fold 1 of 2 folds: for a trial; a result needs every fold" in text
    last = next(line for line in text.splitlines() if line.startswith("mean ±"))
    assert last.endswith("incomplete") and "57.50 ± 3.54" in last


def test_a_group_never_run_is_missing_too() -> None:
    text = render(complete()[:2])
    assert "INCOMPLETE: 2 cells are missing: lower: fold 0, 1" in text
    assert "PARTIAL: mean of upper 57.50 ± 3.54 over fold 0, 1 of 2 folds" in text
    assert "PARTIAL" not in render(complete())


def test_undefined_scores_leave_their_mean_and_are_counted() -> None:
    records = complete()
    gone = ScanScore("liver", "4", ("9",), 0, 0, 0, 0, "class absent from the query scan")
    records[0] = record(0, "upper", [score("liver", "3", 90), gone, score("spleen", "3", 40)])
    (block,) = configuration_results(records)
    assert block.class_dice(0, ("upper", "liver")) == pytest.approx(0.9)
    assert "left out of their means: 1 of 7 (liver 1x class absent from the query scan)" in render(records)


def test_several_supports_are_averaged_before_scans() -> None:
    scores = [score("liver", "3", 80, "8"), score("liver", "3", 40, "9"), score("liver", "4", 30)]
    (block,) = configuration_results([record(0, "upper", [*scores, score("spleen", "3", 10)])])
    assert block.class_dice(0, ("upper", "liver")) == pytest.approx((0.6 + 0.3) / 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"protocol": {"name": "alpnet-ep1", "version": 2, "hash": "e" * 64}},
        {"dataset": {"name": "tiny", "hash": "e" * 64}},
        {"method": {"options": {"window": 4}}},
        {"method": {"version": 2}},
        {"method": {"version": None, "source": "e" * 16}},
        {"method": {"files": {"mask": "e" * 64}}},
        {"versions": {"evaluation": 2}},
        {"queries": "together"},
        {"model": {"name": "theirs"}},
        {"model": {"encoder": "resnet50"}},
        {"model": {"initial_weights": {"name": "imagenet", "sha256": "e" * 64}}},
        {"model": {"steps": 0}},
        {"model": {"seed": 1}},
        {"model": {"checkpoint": "oracle"}},
        {"model": {"precision": "bf16"}},
        {"model": {"answer_precision": "bf16"}},
        {"model": {"compiled": True}},
        {"shots": 2},
        {"parts": 1},
        {"audits": ["leakage possible"]},
    ],
)
def test_different_configurations_are_never_mixed(changes: dict[str, object]) -> None:
    found = configuration_results(complete() + complete(**changes))
    assert len(found) == 2 and all(not block.missing for block in found)


def test_one_external_file_per_fold_is_one_block() -> None:
    records = []
    for fold in (0, 1):
        digest = {"name": "external", "sha256": f"{fold}" * 64}
        some = complete(model={"initial_weights": digest, "checkpoint": "external", "steps": None})
        records += [one for one in some if one.fold == fold]
    assert len(configuration_results(records)) == 1


def test_two_different_records_of_one_cell_are_refused_and_equal_ones_are_one() -> None:
    records = complete()
    assert len(configuration_results([*records, *records])) == 1
    other = record(0, "lower", [score("left-kidney", "3", 31)], model={"key": "f" * 16})
    with pytest.raises(
        UserError, match=r"two different records of ssl-alpnet, tiny setting 2, fold 0, group lower"
    ):
        configuration_results([*records, other])


def test_the_comparison_has_a_row_per_configuration_of_one_question() -> None:
    records = complete() + complete(model={"steps": 0}) + complete(shots=2)
    text = render(records)
    assert text.count("comparison on tiny") == 1
    rows = text[text.index("comparison on tiny") :].splitlines()
    trained = next(row for row in rows if "300 steps" in row)
    assert "55.00 ± 7.07" in trained and trained.endswith("4/4")
    assert any("untrained" in row for row in rows)


def test_markdown_and_csv_hold_the_same_numbers() -> None:
    assert "| 0 | 30.00 | 80.00 | 40.00 | 30.00 | 60.00 | 50.00 | 5/7 | 1 |" in render(complete(), "md")
    rows = list(csv.DictReader(io.StringIO(render(complete(), "csv"))))
    headline = {row["row"]: float(row["dice_percent"]) for row in rows if row["kind"] == "all"}
    assert headline == pytest.approx({"0": 50.0, "1": 60.0, "mean": 55.0, "std": 100 * math.sqrt(0.005)})
    missing = list(csv.DictReader(io.StringIO(render(complete()[:3], "csv"))))
    states = {(row["row"], row["column"]): row["state"] for row in missing}
    assert states["1", "left-kidney"] == "missing" and states["mean", "mean"] == "incomplete"


def test_csv_says_which_labels_were_used() -> None:
    records = complete() + complete(method={"name": "densemp", "labels_used": "training-group"})
    rows = list(csv.DictReader(io.StringIO(render(records, "csv"))))
    used = {(row["method"], row["labels_used"]) for row in rows}
    assert used == {("ssl-alpnet", "none"), ("densemp", "training-group")}


def stages(steps: int, skipped: int | None) -> list[dict[str, object]]:
    first = {"name": "superpixels", "steps": steps} | (
        {} if skipped is None else {"skipped_episodes": skipped}
    )
    return [first, {"name": "annotated", "steps": 60, "skipped_episodes": 1}]


@pytest.mark.parametrize(("skipped", "shown"), [(5, "5"), (None, "-")])
def test_skipped_episodes_count_every_stage_and_may_be_unknown(skipped: int | None, shown: str) -> None:
    model = {"stages": stages(300, None), "labels": LABELS, "skipped_episodes": skipped}
    lines = render(complete(model=model)).splitlines()
    assert next(line for line in lines if line.startswith("0 ")).split()[-1] == shown


def test_a_record_that_knows_no_counts_of_stages_is_of_the_same_cell() -> None:
    known = complete(model={"stages": stages(300, 4), "skipped_episodes": 5})
    unknown = complete(model={"stages": stages(300, None), "skipped_episodes": None})
    assert len(configuration_results([*known, *unknown])) == 1
    with pytest.raises(UserError, match="two different records"):
        configuration_results([*known, *complete(model={"stages": stages(301, None)})])


def test_no_records_and_unknown_formats_say_so() -> None:
    assert render([]) == "no records"
    with pytest.raises(UserError, match="unknown table format 'txt': did you mean 'text'"):
        render([], "txt")
