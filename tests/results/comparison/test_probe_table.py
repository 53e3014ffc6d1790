"""The probe's arithmetic: recalls by hand, undefined ones, and intervals over folds and seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from scipy import stats

from results.comparison.probe import (
    Probe,
    ScanRecall,
    Trial,
    difference_intervals,
    probe_json,
    probe_table,
    recall_differences,
    recalls,
    summary,
)

Hits = Sequence[tuple[int, ...]]  # of every scan, a number per class


def probe(
    asked: Mapping[int, Hits], before: Mapping[int, Sequence[Hits]], after: Mapping[int, Sequence[Hits]]
) -> Probe:
    """fold -> scans' cells asked; fold -> seeds -> scans' hits; one scan is called by fold and place."""
    seeds = len(next(iter(before.values())))
    classes = len(next(iter(asked.values()))[0])
    trials = tuple(
        Trial(
            seed, fold, 7, None, f"{seed}{fold}",
            tuple(
                ScanRecall(f"{fold}{place}", *counts)
                for place, counts in enumerate(zip(scans, before[fold][seed], after[fold][seed], strict=True))
            ),
        )
        for seed in range(seeds)
        for fold, scans in asked.items()
    )  # fmt: skip
    return Probe(
        "tiny", "b" * 64, "alpnet-ep1 version 1", "resnet18", "random", {"epochs": 2},
        ("liver", "background")[:classes], 20, 100, 640, 31, trials,
    )  # fmt: skip


def one_class(*seeds: tuple[int, ...]) -> Probe:
    """One fold: 100 cells a scan, none found before, and so many after: seeds of scans."""
    none = [[(0,)] * len(seeds[0])] * len(seeds)
    return probe({0: [(100,)] * len(seeds[0])}, {0: none}, {0: [[(n,) for n in one] for one in seeds]})


def test_means_by_hand_and_the_missing_class_is_undefined() -> None:
    made = probe(
        {0: [(10, 20), (0, 20)], 1: [(4, 8)]},
        {0: [[(5, 10), (0, 20)], [(10, 0), (0, 10)]], 1: [[(1, 8)], [(3, 4)]]},
        {0: [[(6, 20), (0, 20)], [(10, 20), (0, 20)]], 1: [[(4, 8)], [(4, 8)]]},
    )
    before = recalls(made, "before")
    assert np.array_equal(before[0], [[[0.5, 0.5], [np.nan, 1]], [[1, 0], [np.nan, 0.5]]], equal_nan=True)
    # seed 0: liver 0.5 and 0.25; background 0.75 and 1; folds' means of classes 0.625 and 0.625
    assert summary(before, 0) == pytest.approx([0.375, 0.875, 0.625], abs=1e-12)
    # seed 1: liver 1 and 0.75; background 0.25 and 0.5
    assert summary(before, 1) == pytest.approx([0.875, 0.375, 0.625], abs=1e-12)
    assert summary(before) == pytest.approx([0.625, 0.625, 0.625], abs=1e-12)
    gained = summary(recalls(made, "after")) - summary(before)
    assert summary(recall_differences(made)) == pytest.approx(gained, abs=1e-12) and gained[2] > 0.2


def test_the_last_column_is_folds_of_classes() -> None:
    """A fold without a class counts as much as one with it."""
    none = [[(0, 0)]]
    made = probe({0: [(10, 10)], 1: [(0, 10)]}, {0: none, 1: none}, {0: [[(2, 8)]], 1: [[(0, 10)]]})
    assert summary(recalls(made, "after")) == pytest.approx([0.2, 0.9, 0.75], abs=1e-12)


def test_a_class_that_no_scan_shows_is_undefined_everywhere() -> None:
    made = probe({0: [(0, 10), (0, 10)]}, {0: [[(0, 1), (0, 2)]]}, {0: [[(0, 3), (0, 5)]]})
    assert np.isnan(summary(recalls(made, "before"))[0])
    assert summary(recalls(made, "before"))[1:] == pytest.approx([0.15, 0.15])
    assert difference_intervals(made) == [None] * 3
    told = probe_json(made)
    assert told["before"] == {"liver": None, "background": 0.15000000000000002, "mean": 0.15000000000000002}
    text = probe_table(made)
    assert text.splitlines()[5].split() == ["seed", "0", "before", "undefined", "15.0", "15.0"]
    assert "undefined, left out of their means: 2 of 4" in text and "1 seed: over folds alone" in text


def folds_of_one_class(*folds: tuple[int, ...]) -> Probe:
    """Every fold has one scan of 100 cells, none found before, and so many after by seed."""
    numbers = range(len(folds))
    return probe(
        {fold: [(100,)] for fold in numbers},
        {fold: [[(0,)]] * len(folds[0]) for fold in numbers},
        {fold: [[(hits,)] for hits in folds[fold]] for fold in numbers},
    )


def test_the_interval_is_t_over_folds() -> None:
    made = folds_of_one_class((10, 30), (50, 50), (70, 50))  # folds 20 50 60; seeds do not differ alike
    low, high = stats.ttest_1samp([0.2, 0.5, 0.6], 0).confidence_interval(0.95)
    for interval in difference_intervals(made):
        assert interval is not None and interval.covers_seeds
        assert (interval.low, interval.high) == pytest.approx((low, high))
    alone = difference_intervals(folds_of_one_class((20,), (50,), (60,)))[0]
    assert alone is not None and not alone.covers_seeds
    text = probe_table(folds_of_one_class((20,), (50,), (60,)))
    assert ", 1 seed" in text
    assert "1 seed: over folds alone, no level is claimed" in text


def test_seeds_that_differ_alike_in_every_fold_widen_the_interval() -> None:
    made = difference_intervals(folds_of_one_class((0, 40), (30, 70), (40, 80)))[0]
    plain = difference_intervals(folds_of_one_class((20, 20), (50, 50), (60, 60)))[0]
    assert made is not None and plain is not None
    assert made.high - made.low > plain.high - plain.low


def test_one_fold_has_no_interval() -> None:
    assert difference_intervals(one_class((10, 70), (20, 30))) == [None, None]
    assert "one fold has none" in probe_table(one_class((10, 70), (20, 30)))


def test_the_table_by_hand() -> None:
    made = probe({0: [(10, 10)]}, {0: [[(5, 6)], [(7, 6)]]}, {0: [[(6, 8)], [(8, 8)]]})
    text = probe_table(made)
    lines = [line.split() for line in text.splitlines()]
    assert text.startswith(
        "nearest-neighbour probe of dense features: resnet18 on tiny, fold 0, alpnet-ep1 ver"
    )
    assert lines[3] == ["liver", "background", "mean"]
    assert lines[5] == ["seed", "0", "before", "50.0", "60.0", "55.0"]
    assert lines[9] == ["seed", "1", "after", "80.0", "80.0", "80.0"]
    assert lines[11:14] == [
        ["mean", "before", "60.0", "60.0", "60.0"],
        ["mean", "after", "70.0", "80.0", "75.0"],
        ["mean", "difference", "+10.0", "+20.0", "+15.0"],
    ]
    assert lines[15] == ["interval", "difference", "-", "-", "-"]
    for words in ("chance of the mean: 50.0 (1 of 2", "keys of each class, by fold: 7;", "31 of 640", "=2"):
        assert words in text
    assert "MARKED" not in text and "undefined" not in text
    assert "MARKED: stage 1 did not begin" in probe_table(dataclasses.replace(made, before="imagenet"))
