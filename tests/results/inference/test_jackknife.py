"""Jackknife over folds: by hand, against the ratio estimator's formula, and how often it covers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from results.inference.interval import t_quantile
from results.inference.jackknife import Statistic, jackknife_interval, jackknife_values

PARTS, TOTALS = np.array([3.0, 8.0, 2.0, 9.0]), np.array([10.0, 10.0, 5.0, 20.0])
FOLDS = range(4)


def ratio(folds: Sequence[int]) -> float:
    return float(PARTS[list(folds)].sum() / TOTALS[list(folds)].sum())


def test_values_of_a_mean_of_folds_are_the_folds() -> None:
    each = np.array([0.2, 0.5, 0.9])
    values = jackknife_values(lambda folds: float(each[list(folds)].mean()), range(3))
    assert values == pytest.approx(each)


def test_a_ratio_is_the_mean_of_its_values_and_near_the_ratio_estimator() -> None:
    values = jackknife_values(ratio, FOLDS)
    assert values.mean() == pytest.approx(22 / 45)
    linear = 22 / 45 + 4 * (PARTS - 22 / 45 * TOTALS) / 45  # the linear terms of the ratio
    assert values.std(ddof=1) == pytest.approx(linear.std(ddof=1), rel=0.25)


def test_the_interval_by_hand() -> None:
    without = np.array([19 / 35, 14 / 35, 20 / 40, 13 / 25])
    error = np.sqrt(3 / 4 * ((without - without.mean()) ** 2).sum())
    interval = jackknife_interval(ratio, (), FOLDS)
    assert interval is not None and interval.covers_seeds and interval.degrees == 3
    half = t_quantile(3) * error
    assert (interval.low, interval.high) == pytest.approx((22 / 45 - half, 22 / 45 + half))


def test_one_seed_is_said_and_seeds_that_differ_alike_widen() -> None:
    shift: list[Statistic] = [lambda folds: ratio(folds) - 0.2, lambda folds: ratio(folds) + 0.2]
    one, two = jackknife_interval(ratio, [ratio], FOLDS), jackknife_interval(ratio, shift, FOLDS)
    assert one is not None and two is not None
    assert not one.covers_seeds and two.covers_seeds
    assert two.high - two.low > 1.5 * (one.high - one.low)


def test_no_interval_for_one_fold_or_an_undefined_statistic() -> None:
    assert jackknife_interval(ratio, (), [0]) is None
    assert jackknife_interval(lambda folds: float("nan") if 0 in folds else 1.0, (), FOLDS) is None


@pytest.mark.parametrize("name", ["median", "share"])
def test_pooled_points_of_folds_with_effects_are_covered(name: str) -> None:
    """800 draws have a standard error of 0.8 points; fold effects are as large as the spread of a point."""
    draw = np.random.Generator(np.random.PCG64(7))

    def distances(folds: int, points: int) -> np.ndarray:
        return np.exp(draw.normal(0.0, 0.3, (folds, 1)) + draw.normal(0.5, 0.5, (folds, points)))

    measure = np.median if name == "median" else (lambda values: np.mean(values <= 2.0))
    target = measure(distances(20_000, 50))
    hits = 0
    for _ in range(800):
        each = distances(5, 120)
        interval = jackknife_interval(
            lambda folds, each=each: float(measure(each[list(folds)])), (), range(5)
        )
        assert interval is not None
        hits += interval.low <= target <= interval.high
    assert 0.92 <= hits / 800 <= 0.98
