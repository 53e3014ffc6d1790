"""The probe's arithmetic: recalls by hand, undefined ones, and the bootstrap of seeds and scans."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

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
    assert difference_intervals(made)[0] is None and difference_intervals(made)[2] is not None
    told = probe_json(made)
    assert told["before"] == {"liver": None, "background": 0.15000000000000002, "mean": 0.15000000000000002}
    text = probe_table(made)
    assert text.splitlines()[5].split() == ["seed", "0", "before", "undefined", "15.0", "15.0"]
    assert "undefined, left out of their means: 2 of 4" in text and "one seed: it does not cover" in text


def test_the_interval_draws_seeds_and_scans() -> None:
    """Of 2 x 2 each cell is drawn alone in 1/16, its seed or scan with both of the other in 1/8 of draws."""
    made = one_class((0, 10), (40, 90))
    assert difference_intervals(made)[1] == pytest.approx((0.0, 0.9), abs=1e-12)
    # from below 0.00 (1/16), 0.05 (1/8); from above 0.90 (1/16), 0.65 (1/8)
    assert difference_intervals(made, level=0.8)[0] == pytest.approx((0.05, 0.65), abs=1e-12)


def test_one_seed_leaves_the_scans_and_one_scan_the_seeds() -> None:
    assert difference_intervals(one_class((10, 70)))[1] == pytest.approx((0.1, 0.7), abs=1e-12)
    assert difference_intervals(one_class((10,), (70,)))[1] == pytest.approx((0.1, 0.7), abs=1e-12)
    assert difference_intervals(one_class((10,))) == [None, None]


def test_the_same_seeds_are_drawn_in_every_fold() -> None:
    """Folds that differ by seed in opposite ways leave no doubt, as seeds are drawn once for all."""
    none = [[(0,)], [(0,)]]
    made = probe(
        {0: [(100,)], 1: [(100,)]}, {0: none, 1: none}, {0: [[(10,)], [(90,)]], 1: [[(90,)], [(10,)]]}
    )
    assert difference_intervals(made)[1] == pytest.approx((0.5, 0.5), abs=1e-12)


def test_equal_probes_have_equal_intervals_and_before_and_after_are_paired() -> None:
    asked = {0: [(100, 100)] * 3}
    before = {0: [[(10, 80), (50, 30), (70, 20)], [(20, 60), (30, 10), (0, 70)]]}
    after = {0: [[tuple(n + 20 for n in scan) for scan in seed] for seed in before[0]]}
    made = probe(asked, before, after)  # type: ignore[arg-type]
    assert difference_intervals(made) == difference_intervals(made)
    for ends in difference_intervals(made):
        assert ends == pytest.approx((0.2, 0.2), abs=1e-12)


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
    assert " ".join(lines[15]) == ("95 % interval difference +10.0 to +10.0 +20.0 to +20.0 +15.0 to +15.0")
    for words in ("chance of the mean: 50.0 (1 of 2", "keys of each class, by fold: 7;", "31 of 640", "=2"):
        assert words in text
    assert "MARKED" not in text and "undefined" not in text
    assert "MARKED: stage 1 did not begin" in probe_table(dataclasses.replace(made, before="imagenet"))
