"""Arrays of a row against the frame's means: undefined scores, supports, seeds, scans of two folds."""

from __future__ import annotations

import math

import pytest
from making import record, score

from fewshot.base.types import ScanScore
from results.inference.interval import t_interval, variance_terms
from results.inference.row_values import depends_on_seed, row_values, sample_of
from results.leaderboard.board import leaderboard
from results.records.record import Record
from results.summary.configuration_result import configuration_results
from results.summary.seed_average import SeedAverage, average_seeds, values_of

OPEN = {"protocol": {"name": "open-ep", "version": 1, "hash": "e" * 64}, "parts": 1}


def rows_of(records: list[Record]) -> SeedAverage:
    (row,) = average_seeds(configuration_results(records))[0]
    return row


def two_seeds() -> list[Record]:
    """Two folds and seeds; scan 3 has no liver, and scan 5 is a query of both folds."""
    made = []
    for seed in range(2):
        for fold, scans in enumerate((("3", "4", "5"), ("5", "6"))):
            dices = [30 + 7 * seed + 11 * fold + 3 * int(scan) for scan in scans]
            upper = [
                score(name, scan, dice)
                for name in ("liver", "spleen")
                for scan, dice in zip(scans, dices, strict=True)
            ]
            if fold == 0:
                upper[0] = ScanScore("liver", "3", ("9",), 0, 0, 0, 0, "absent")
            lower = [score("left-kidney", scan, dice // 2) for scan, dice in zip(scans, dices, strict=True)]
            made += [
                record(fold, "upper", upper, model={"seed": seed}),
                record(fold, "lower", lower, model={"seed": seed}),
            ]  # fmt: skip
    return made


def test_samples_have_the_means_of_the_frame() -> None:
    row = rows_of(two_seeds())
    values, means = row_values(row), values_of(row, "dice").means
    assert values.by_seed.shape == (2, 2, 3, 4) and values.scans == ("3", "4", "5", "6")
    assert sample_of(values).fold_means == pytest.approx(means.of_all(range(2)))
    assert sample_of(values, group="upper").fold_means == pytest.approx(means.of_group(range(2), "upper"))
    for place, column in enumerate(row.first.columns):
        assert sample_of(values, place).fold_means == pytest.approx(means.of_class(range(2), *column))
    liver = sample_of(values, row.first.columns.index(("upper", "liver")))
    assert math.isnan(liver.scans[0, 0]) and len(liver.scan_values) == 3
    assert [term.name for term in variance_terms(sample_of(values))][-1] == "shared scans"


def test_a_board_of_open_ep_counts_supports() -> None:
    records = []
    for fold, (scans, supports) in enumerate(((("3", "4"), ("5", "6")), (("5", "6"), ("3", "4")))):
        for group, names in {"lower": ["left-kidney"], "upper": ["liver", "spleen"]}.items():
            scores = [
                score(name, scan, 40 + 2 * int(scan) + 6 * int(support), support)
                for name in names
                for scan in scans
                for support in supports
            ]
            records.append(record(fold, group, scores, **OPEN))
    sample = sample_of(row_values(rows_of(records)))
    assert sample.supports is not None and sample.supports.shape == (2, 4, 4)
    assert sample.supports[0, 0] == pytest.approx([math.nan, math.nan, 0.76, 0.82], nan_ok=True)
    assert variance_terms(sample)[-1].name == "supports"
    (line,) = leaderboard(records, "tiny", 2, "open-ep").lines
    interval, alone = line.mean.interval, t_interval(sample)
    assert interval is not None and alone is not None
    assert (interval.low, interval.high) == pytest.approx((alone.low, alone.high))


def test_what_depends_on_a_seed() -> None:
    trained = record(0, "lower", [score("left-kidney", "3", 50)])
    assert depends_on_seed(trained)
    coco = {"initial_weights": {"name": "coco", "sha256": None}}
    for model, wanted in (
        ({"checkpoint": "none", "encoder": None, "initial_weights": None, "steps": 0, "key": None}, False),
        ({"checkpoint": "external"}, True),
        ({"steps": 0}, True),
        (coco, True),
        (coco | {"steps": 0}, False),
    ):
        assert depends_on_seed(record(0, "lower", [score("left-kidney", "3", 50)], model=model)) is wanted


def test_a_yardstick_has_one_value_for_all_seeds() -> None:
    none = {"checkpoint": "none", "encoder": None, "initial_weights": None, "steps": 0, "key": None}
    records = [
        record(fold, group, [score(name, str(fold), 40 + 10 * fold) for name in names], model=none)
        for fold in range(2)
        for group, names in {"lower": ["left-kidney"], "upper": ["liver", "spleen"]}.items()
    ]
    sample = sample_of(row_values(rows_of(records)))
    assert sample.seed_tables == () and sample.covers_seeds and sample.seeds is None
    assert sample.fold_means == pytest.approx([0.4, 0.5])
