"""The frame of records and its means against sums done by hand; what is undefined is left out, never 0."""

from __future__ import annotations

import math
import random

import pytest
from making import changed, record, recorded, score

from fewshot.base.types import ScanScore
from results.records.configuration import configuration_id
from results.records.record import Record
from results.summary.frame import (
    IDENTITY,
    SCORE,
    Means,
    Spread,
    mean_dice,
    mean_of,
    mean_over,
    record_frame,
    scan_dice,
    scan_means,
    score_frame,
    spread_of_folds,
    undefined_scores,
)

ABSENT = ScanScore("liver", "4", ("9",), 0, 0, 0, 0, "class absent from the query scan")


def cells(shift: int = 0, seed: int = 0) -> list[Record]:
    """Two folds. Liver 80 (90, 70) and 60; spleen 40, 50; left kidney 30, 70 percent, each plus `shift`."""
    model = {"seed": seed}
    liver = [score("liver", "3", 90 + shift), score("liver", "4", 70 + shift)]
    return [
        record(0, "upper", [*liver, score("spleen", "3", 40 + shift)], model=model),
        record(1, "upper", [score("liver", "5", 60 + shift), score("spleen", "5", 50 + shift)], model=model),
        record(0, "lower", [score("left-kidney", "3", 30 + shift)], model=model),
        record(1, "lower", [score("left-kidney", "5", 70 + shift)], model=model),
    ]


def means_of(records: list[Record]) -> Means:
    return Means(scan_means(record_frame(records)))


def test_a_row_holds_who_what_and_how_much() -> None:
    first = record(0, "upper", [score("liver", "3", 80, "9"), ABSENT, score("spleen", "3", 40)])
    frame = record_frame([first])
    assert list(frame.columns) == [*IDENTITY, *SCORE] and len(frame) == 3
    assert frame.loc[0].to_dict() == {
        "protocol": "alpnet-ep1", "dataset": "tiny", "setting": 2, "configuration": configuration_id(first),
        "seed": 0, "fold": 0, "group": "upper", "class": "liver", "scan": "3", "supports": "9", "slices": 3,
        "tp": 80, "fp": 40, "fn": 0, "dice": 0.8, "undefined": None,
    }  # fmt: skip
    assert math.isnan(frame.loc[1, "dice"]) and frame.loc[1, "undefined"] == ABSENT.undefined
    assert undefined_scores(frame) == ((0, "liver", "4", ABSENT.undefined),)
    assert frame.loc[2, "undefined"] is None
    assert record_frame([]).empty and list(record_frame([]).columns) == [*IDENTITY, *SCORE]


def test_scores_of_an_evaluation_and_of_a_record_give_one_frame() -> None:
    scores = [score("liver", "3", 80), ABSENT]
    assert score_frame(scores).equals(score_frame([recorded(one) for one in scores]))


def test_the_headline_is_folds_of_classes_of_scans() -> None:
    means = means_of(cells())
    assert means.scans[0, "upper", "liver", "4"] == 0.7
    assert means.of_class((0, 1), "upper", "liver") == pytest.approx([0.8, 0.6])
    assert means.of_group((0, 1), "upper") == pytest.approx([0.6, 0.55])
    assert means.of_all((0, 1)) == pytest.approx([0.5, 0.6])  # (80 + 40 + 30) / 3, (60 + 50 + 70) / 3
    spread = spread_of_folds(means.of_all((0, 1)))
    assert spread is not None and (spread.mean, spread.std) == pytest.approx((0.55, math.sqrt(0.005)))


def test_what_is_not_there_is_nan() -> None:
    means = means_of(cells()[:1])
    assert math.isnan(means.of_group([0], "lower")[0]) and math.isnan(means.of_all([1])[0])
    assert math.isnan(means.of_class([0], "lower", "left-kidney")[0])
    assert math.isnan(mean_of([])) and math.isnan(mean_of([math.nan])) and mean_of([math.nan, 0.5]) == 0.5
    assert spread_of_folds([math.nan]) is None and spread_of_folds([0.5, math.nan]) == Spread(0.5, None)


def test_an_undefined_score_leaves_its_mean_and_a_class_without_any_is_left_out_of_the_next() -> None:
    absent = [ScanScore(name, "3", ("9",), 0, 0, 0, 0, "absent") for name in ("liver", "spleen")]
    liver = means_of([record(0, "upper", [score("liver", "3", 90), ABSENT, score("spleen", "3", 40)])])
    assert liver.of_class([0], "upper", "liver") == [0.9]
    alone = means_of([record(0, "upper", [absent[0], score("spleen", "3", 40)])])
    assert math.isnan(alone.of_class([0], "upper", "liver")[0]) and alone.of_all([0]) == [0.4]
    assert math.isnan(means_of([record(0, "upper", absent)]).of_all([0])[0])


def test_supports_are_averaged_before_seeds_and_seeds_before_scans() -> None:
    """Scan 3: seed 0 has 80 and 40 by support, seed 1 only 20: (60 + 20) / 2 = 40, not 140 / 3."""
    spleen = score("spleen", "3", 10)
    turns = [score("liver", "3", 80, "8"), score("liver", "3", 40, "9"), score("liver", "4", 30), spleen]
    gone = ScanScore("liver", "3", ("9",), 0, 0, 0, 0, "absent")
    second = [score("liver", "3", 20, "8"), gone, ABSENT, spleen]
    one, two = record(0, "upper", turns), record(0, "upper", second, model={"seed": 1})
    scans = means_of([one, two]).scans[0, "upper", "liver"]
    assert scans.to_dict() == pytest.approx({"3": 0.4, "4": 0.3})  # scan 4: seed 0 alone


def test_seeds_shift_the_headline_by_half_their_difference() -> None:
    both = means_of(cells() + cells(shift=10, seed=1))
    assert mean_of(both.of_all((0, 1))) == pytest.approx(0.60)


def test_means_are_exact_in_any_order() -> None:
    records = cells() + cells(shift=7, seed=1) + cells(shift=3, seed=2)
    shuffled = random.Random(1).sample(records, len(records))
    for name in ("classes", "groups", "folds"):
        one, other = (getattr(means_of(some), name).sort_index() for some in (records, shuffled))
        assert one.equals(other)


def test_a_mean_over_a_level_that_is_not_there_changes_nothing() -> None:
    scans = means_of(cells()).scans
    assert mean_over(scans, "supports") is scans


def test_one_cell_alone() -> None:
    """Scan 3: (90 + 40) / 2; scan 4: liver alone. The cell: ((90 + 70) / 2 + 40) / 2."""
    first = cells()[0]
    assert scan_dice(first).to_dict() == pytest.approx({"3": 0.65, "4": 0.7})
    assert mean_dice(first.scores) == pytest.approx(0.6)
    assert math.isnan(mean_dice([ABSENT]))


def test_configurations_and_seeds_stand_beside_each_other_in_one_frame() -> None:
    other = [changed(one, method={"name": "panet"}) for one in cells()]
    frame = record_frame([*cells(), *cells(seed=1), *other])
    keys = ["configuration", "seed"]
    by_result = frame.groupby(keys)["dice"].count()
    names = configuration_id(cells()[0]), configuration_id(other[0])
    assert by_result.to_dict() == {(names[0], 0): 7, (names[0], 1): 7, (names[1], 0): 7}
