"""Statistics against examples worked by hand, then against scipy.stats, an independent implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from results.summary.statistics import (
    holm,
    interval,
    mean_of_defined,
    rank_intervals,
    resampled,
    scans_needed,
    signed_ranks,
    spread_of,
    standardised,
    weighted_means,
)


def test_signed_ranks_worked_by_hand() -> None:
    # sizes 1 2 3 4 5, the 2 negative: W- = 2, W+ = 13. Of 32 signs, W- <= 2 has {}, {1}, {2}: p = 2 * 3 / 32.
    found = signed_ranks([1.0, -2.0, 3.0, 4.0, 5.0])
    assert (found.pairs, found.zeros, found.plus, found.minus) == (5, 0, 13.0, 2.0)
    assert found.p == pytest.approx(6 / 32) and found.rank_biserial == pytest.approx(11 / 15)


def test_ties_share_their_rank_and_p_stays_exact() -> None:
    # sizes 1 1 2: ranks 1.5 1.5 3, all positive: W+ = 6; one of 8 signs reaches it: p = 2 / 8.
    found = signed_ranks([0.1, 0.1, 0.2, 0.0])
    assert (found.pairs, found.zeros, found.plus, found.minus) == (3, 1, 6.0, 0.0)
    assert found.p == pytest.approx(0.25)


def test_no_difference_has_p_1_and_no_effect() -> None:
    found = signed_ranks([0.0, 0.0])
    assert (found.p, found.pairs, found.zeros, found.rank_biserial) == (1.0, 0, 2, None)
    assert signed_ranks([]).p == 1.0


@pytest.mark.parametrize("size", [1, 2, 7, 20, 45])
def test_signed_ranks_agree_with_scipy(size: int) -> None:
    draw = np.random.Generator(np.random.PCG64(size)).normal(0.3, 1, size)
    wanted = stats.wilcoxon(draw, method="exact")
    found = signed_ranks(draw.tolist())
    assert found.p == pytest.approx(wanted.pvalue, rel=1e-9)
    assert min(found.plus, found.minus) == wanted.statistic


def test_tied_ranks_agree_with_all_signs_of_scipy() -> None:
    differences = [1, 1, -2, 2, 3, 3, 3, -4, 5]
    every = stats.PermutationMethod(n_resamples=np.inf)
    wanted = stats.wilcoxon(differences, method=every)
    assert signed_ranks(differences).p == pytest.approx(wanted.pvalue, rel=1e-9)


def test_holm_worked_by_hand() -> None:
    # sorted 0.01 0.02 0.03 0.04, times 4 3 2 1: 0.04 0.06 0.06 0.04, never falling: 0.04 0.06 0.06 0.06.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []


def test_effect_size_worked_by_hand_and_by_scipy() -> None:
    # mean 2, deviation sqrt(((-1)^2 + 0 + 1) / 2) = 1.
    assert standardised([1.0, 2.0, 3.0]) == pytest.approx(2.0) and spread_of([1.0, 2.0, 3.0]) == 1.0
    t = stats.ttest_1samp([0.1, 0.4, -0.2, 0.3], 0).statistic
    assert standardised([0.1, 0.4, -0.2, 0.3]) == pytest.approx(t / math.sqrt(4))
    assert standardised([1.0]) is None and spread_of([1.0]) is None
    assert standardised([0.1, 0.1, 0.1]) is None and spread_of([0.1, 0.1, 0.1]) == 0.0


def test_scans_needed_worked_by_hand() -> None:
    # (1.959964 + 0.841621)^2 = 7.848880; deviation 5 points, difference 1: 25 * 7.84888 * pi / 3 = 205.48.
    assert scans_needed(0.05) == 206
    assert scans_needed(0.05, difference=0.02) == 52 and scans_needed(0.0) == 2


def test_weighted_means_worked_by_hand() -> None:
    values = np.array([[0.2, np.nan], [0.4, 0.5], [0.9, np.nan]])
    weights = np.array([[1.0, 1.0, 1.0], [2.0, 1.0, 0.0], [3.0, 0.0, 0.0]])
    wanted = [[0.5, 0.5], [(0.4 + 0.4) / 3, 0.5], [0.2, np.nan]]
    np.testing.assert_allclose(weighted_means(values, weights), wanted, rtol=1e-12)
    np.testing.assert_allclose(mean_of_defined(values, 0), [0.5, 0.5], rtol=1e-12)
    assert np.isnan(mean_of_defined(np.full((2, 1), np.nan), 0)).all()


def test_resampling_draws_as_many_scans_and_depends_on_its_names_alone() -> None:
    drawn = resampled(["1", "2", "3"], "x", 0, replicates=500)
    assert drawn.shape == (500, 3) and (drawn.sum(axis=1) == 3).all()
    assert (drawn == resampled(["1", "2", "3"], "x", 0, replicates=500)).all()
    assert (drawn != resampled(["1", "2", "3"], "x", 1, replicates=500)).any()
    assert np.abs(drawn.mean(axis=0) - 1).max() < 0.15


def test_bootstrap_of_a_mean_agrees_with_scipy() -> None:
    values = np.random.Generator(np.random.PCG64(1)).normal(0.7, 0.1, 30)
    weights = resampled([str(n) for n in range(30)], "check", replicates=20_000)
    found = interval(weighted_means(values[:, None], weights)[:, 0])
    wanted = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert found is not None
    assert found == pytest.approx((wanted.low, wanted.high), abs=0.0015)


def test_intervals_are_quantiles_and_undefined_where_a_replicate_is() -> None:
    samples = np.arange(1001, dtype=np.float64)
    assert interval(samples) == pytest.approx((25.0, 975.0))
    assert interval(np.array([1.0, np.nan])) is None and interval(np.array([])) is None


def test_rank_intervals_worked_by_hand() -> None:
    # the first always wins; the others change places in a fifth of the replicates; the last two tie once each
    first, second, third = np.full(10, 9.0), np.array([5.0] * 8 + [3.0] * 2), np.full(10, 4.0)
    assert rank_intervals(np.array([first, second, third])) == [(1, 1), (2, 3), (2, 3)]
    assert rank_intervals(np.array([first, first])) == [(1, 1), (1, 1)]
