"""The probe's arithmetic: recalls by hand, undefined ones, three arms, and the interval over seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from scipy import stats

from results.comparison.probe import (
    DIFFERENCES,
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
    asked: Mapping[int, Hits],
    before: Mapping[int, Sequence[Hits]],
    after: Mapping[int, Sequence[Hits]],
    calibrated: Mapping[int, Sequence[Hits]] | None = None,
) -> Probe:
    """fold -> scans' cells asked; fold -> seeds -> scans' hits; one scan is called by fold and place.

    The arm calibrated is that before, unless it is given.
    """
    middle = calibrated or before
    seeds = len(next(iter(before.values())))
    classes = len(next(iter(asked.values()))[0])
    trials = tuple(
        Trial(
            seed, fold, 7, None, f"{seed}{fold}",
            tuple(
                ScanRecall(f"{fold}{place}", *counts)
                for place, counts in enumerate(
                    zip(scans, before[fold][seed], middle[fold][seed], after[fold][seed], strict=True)
                )
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
    assert (
        summary(recall_differences(made, "after", "before")) == pytest.approx(gained, abs=1e-12)
        and gained[2] > 0.2
    )


def test_the_last_column_is_folds_of_classes() -> None:
    """A fold without a class counts as much as one with it."""
    none = [[(0, 0)]]
    made = probe({0: [(10, 10)], 1: [(0, 10)]}, {0: none, 1: none}, {0: [[(2, 8)]], 1: [[(0, 10)]]})
    assert summary(recalls(made, "after")) == pytest.approx([0.2, 0.9, 0.75], abs=1e-12)


def test_a_class_that_no_scan_shows_is_undefined_everywhere() -> None:
    hits = [[(0, 1), (0, 2)]] * 2
    made = probe({0: [(0, 10), (0, 10)]}, {0: hits}, {0: [[(0, 3), (0, 5)], [(0, 4), (0, 5)]]})
    assert np.isnan(summary(recalls(made, "before"))[0])
    assert summary(recalls(made, "before"))[1:] == pytest.approx([0.15, 0.15])
    ends = difference_intervals(made, "after", "before")
    assert ends[0] is None and ends[2] is not None
    told = probe_json(made)
    assert told["recall"]["before"] == {
        "liver": None,
        "background": pytest.approx(0.15),
        "mean": pytest.approx(0.15),
    }
    assert told["differences"]["after - before"]["interval"]["liver"] is None
    text = probe_table(made)
    assert text.splitlines()[5].split() == ["seed", "0", "before", "undefined", "15.0", "15.0"]
    assert "undefined, left out of their means: 2 of 4" in text


def test_the_interval_is_scipys_t_interval_over_seeds() -> None:
    """Seeds gain 5, 65 and 20 points on two scans; scans within a seed do not count as observations."""
    made = one_class((0, 10), (40, 90), (20, 20))
    gains = np.array([0.05, 0.65, 0.2])
    for level in (0.95, 0.8):
        ends = stats.t.interval(level, 2, loc=gains.mean(), scale=stats.sem(gains))
        for found in difference_intervals(made, "after", "before", level):
            assert found == pytest.approx(ends, abs=1e-12)


def test_folds_are_averaged_within_a_seed() -> None:
    """Folds that differ by seed in opposite ways leave no doubt about the mean of both."""
    none = [[(0,)], [(0,)]]
    made = probe(
        {0: [(100,)], 1: [(100,)]}, {0: none, 1: none}, {0: [[(10,)], [(90,)]], 1: [[(90,)], [(10,)]]}
    )
    assert difference_intervals(made, "after", "before")[1] == pytest.approx((0.5, 0.5), abs=1e-12)


def test_one_seed_has_no_interval_and_no_percentage_of_confidence() -> None:
    made = one_class((10, 70))
    assert difference_intervals(made, "after", "before") == [None, None]
    text, told = probe_table(made), probe_json(made)
    assert "95 %" not in text and "1 seed: no interval" in text and told["level"] is None
    assert set(told["differences"]["after - before"]["interval"].values()) == {None}


def test_the_interval_covers_the_mean_of_seeds_as_often_as_it_says() -> None:
    """Seeds with normal gains, scans of a seed alike: 3 seeds of 2 scans, true mean 30 points."""
    draw = np.random.Generator(np.random.PCG64(4))
    held = 0
    for _ in range(600):
        seeds = [(int(n), int(n)) for n in np.clip(draw.normal(3000, 400, 3).round(), 0, 10_000)]
        made = probe({0: [(10_000,)] * 2}, {0: [[(0,)] * 2] * 3}, {0: [[(n,) for n in one] for one in seeds]})
        ends = difference_intervals(made, "after", "before")[0]
        held += ends is not None and ends[0] <= 0.3 <= ends[1]
    assert 0.93 <= held / 600 <= 0.97


def test_three_arms_separate_statistics_from_pre_training() -> None:
    made = probe({0: [(10, 10)]}, {0: [[(2, 2)]]}, {0: [[(9, 9)]]}, {0: [[(7, 6)]]})
    by_pair = {pair: summary(recall_differences(made, *pair))[2] for pair in DIFFERENCES}
    assert by_pair[("calibrated", "before")] == pytest.approx(0.45)
    assert by_pair[("after", "calibrated")] == pytest.approx(0.25)
    assert by_pair[("after", "before")] == pytest.approx(0.7)
    told = probe_json(made)
    assert told["recall"]["calibrated"]["mean"] == pytest.approx(0.65)
    assert told["differences"]["after - calibrated"]["mean"]["liver"] == pytest.approx(0.2)


def test_the_table_by_hand() -> None:
    made = probe({0: [(10, 10)]}, {0: [[(5, 6)], [(7, 6)]]}, {0: [[(6, 8)], [(8, 8)]]})
    text = probe_table(made)
    lines = [line.split() for line in text.splitlines()]
    assert text.startswith(
        "nearest-neighbour probe of dense features: resnet18 on tiny, fold 0, alpnet-ep1 ver"
    )
    assert lines[3] == ["liver", "background", "mean"]
    assert lines[5] == ["seed", "0", "before", "50.0", "60.0", "55.0"]
    assert lines[10] == ["seed", "1", "after", "80.0", "80.0", "80.0"]
    assert lines[11:17] == [
        ["mean", "before", "60.0", "60.0", "60.0"],
        ["mean", "calibrated", "60.0", "60.0", "60.0"],
        ["mean", "after", "70.0", "80.0", "75.0"],
        ["mean", "calibrated", "-", "before", "+0.0", "+0.0", "+0.0"],
        ["mean", "after", "-", "calibrated", "+10.0", "+20.0", "+15.0"],
        ["mean", "after", "-", "before", "+10.0", "+20.0", "+15.0"],
    ]
    last = " ".join(lines[19])
    assert last == "95 % over seeds after - before +10.0 to +10.0 +20.0 to +20.0 +15.0 to +15.0"
    for words in ("chance of the mean: 50.0 (1 of 2", "keys of each class, by fold: 7;", "31 of 640", "=2"):
        assert words in text
    assert "t over 2 seeds on the same folds and scans" in text
    assert "MARKED" not in text and "undefined" not in text
    text = probe_table(dataclasses.replace(made, before="imagenet"))
    assert "MARKED: the pre-training did not begin" in text
