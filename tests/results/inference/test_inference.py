"""Intervals, tests, ranks and components against examples by hand, scipy and statsmodels."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from results.inference.components import Components, Design, variance_components
from results.inference.interval import (
    LEVEL,
    Interval,
    standard_error,
    t_interval,
    t_p_value,
    t_quantile,
    variance_terms,
)
from results.inference.paired import compare_values, holm, scan_effect
from results.inference.ranks import draw_means, rank_intervals
from results.inference.row_values import RowValues, pair_values, sample_of, sample_of_difference
from results.inference.sample import Sample
from results.inference.sign_flip import sign_flip_test

MEANS = (0.52, 0.61, 0.47, 0.70, 0.55)


def fold_sample(*means: float, tables: tuple[np.ndarray, ...] = ()) -> Sample:
    """Return the sample of fold means, one scan a fold."""
    return Sample(np.array(means), tables, np.where(np.eye(len(means), dtype=bool), means, np.nan))


def row(values: np.ndarray, *, depends_on_seed: bool = True) -> RowValues:
    """Return a row of one class from values (S,F,N)."""
    seeds, folds, scans = values.shape
    return RowValues(
        tuple(range(folds)), (("g", "c"),), tuple(map(str, range(scans))), tuple(range(seeds)),
        depends_on_seed, values[:, :, None],
    )  # fmt: skip


def nested(*effects: float, seeds: int = 3, folds: int = 5, scans: int = 4, draw: int = 0) -> np.ndarray:
    """Return values (S,F,N) with normal effects of fold, seed, training, scan and rest."""
    generator = np.random.default_rng(draw)
    fold, seed, model, scan, rest = effects
    values = generator.normal(0, fold, (1, folds, 1)) + generator.normal(0, seed, (seeds, 1, 1))
    values = values + generator.normal(0, model, (seeds, folds, 1))
    values = values + generator.normal(0, scan, folds * scans)
    values = values + generator.normal(0, rest, (seeds, folds, folds * scans))
    inside = np.kron(np.eye(folds, dtype=bool), np.ones(scans, dtype=bool))
    return np.where(inside, values, np.nan)


def ends(interval: Interval | None) -> tuple[float, float]:
    assert interval is not None
    return interval.low, interval.high


def test_without_seeds_the_interval_is_scipys_t_interval() -> None:
    sample = fold_sample(*MEANS)
    test = stats.ttest_1samp(MEANS, 0.5)
    wanted = test.confidence_interval(LEVEL)
    assert ends(t_interval(sample)) == pytest.approx((wanted.low, wanted.high))
    shifted = fold_sample(*(mean - 0.5 for mean in MEANS))
    assert t_p_value(shifted) == pytest.approx(test.pvalue)
    assert t_quantile(4) == pytest.approx(stats.t.ppf(0.975, 4))


def test_fewer_than_two_folds_and_no_spread() -> None:
    assert t_interval(fold_sample(0.5)) is None and t_p_value(fold_sample(0.5)) is None
    assert ends(t_interval(fold_sample(0.5, 0.5, 0.5))) == pytest.approx((0.5, 0.5))
    assert t_p_value(fold_sample(0.5, 0.5)) is None
    undefined = fold_sample(0.4, math.nan, 0.6)
    assert ends(t_interval(undefined)) == pytest.approx(ends(t_interval(fold_sample(0.4, 0.6))))


def test_seeds_of_equal_size_add_nothing_and_one_seed_is_marked() -> None:
    table = np.array([[0.5, 0.7, 0.5], [0.7, 0.5, 0.5]])  # both seeds have the mean 17 / 30
    sample = fold_sample(*table.mean(axis=0), tables=(table,))
    assert [term.name for term in variance_terms(sample)] == ["folds"]
    one = fold_sample(*table[0], tables=(table[:1],))
    interval = t_interval(one)
    assert interval is not None and not interval.covers_seeds and one.seeds == 1
    assert ends(interval) == pytest.approx(ends(t_interval(fold_sample(*table[0]))))


def test_the_variance_of_seeds_worked_by_hand() -> None:
    # fold means 50 60 70, seeds -10 and +10 in every fold: MS seeds = 3 * 200 = 600, residual 0
    table = np.array([[40.0, 50.0, 60.0], [60.0, 70.0, 80.0]])
    sample = fold_sample(50, 60, 70, tables=(table,))
    terms = variance_terms(sample)
    assert [(term.name, term.value, term.degrees) for term in terms] == [
        ("folds", pytest.approx(100 / 3), 2), ("seeds", pytest.approx(600 / 6), 1),
        ("seeds", pytest.approx(0, abs=1e-9), 2),
    ]  # fmt: skip
    error, degrees = standard_error(terms)
    assert error**2 == pytest.approx(400 / 3)
    assert degrees == pytest.approx((400 / 3) ** 2 / ((100 / 3) ** 2 / 2 + 100**2))


def test_the_variance_with_seeds_is_that_of_statsmodels_mixed_model() -> None:
    """In a balanced table with positive components REML and mean squares agree."""
    values = nested(4, 3, 2, 0, 0, scans=1, draw=3)
    sample = sample_of(row(values))
    variance = sum(term.value for term in variance_terms(sample))
    from statsmodels.regression.mixed_linear_model import MixedLM

    seeds, folds, scans = np.nonzero(~np.isnan(values))
    frame = pd.DataFrame({"y": values[seeds, folds, scans], "fold": folds, "seed": seeds, "one": 1})
    effects = {"fold": "0 + C(fold)", "seed": "0 + C(seed)"}
    model = MixedLM.from_formula("y ~ 1", groups="one", re_formula="0", vc_formula=effects, data=frame)
    fit = model.fit(reml=True)
    of = dict(zip(model.exog_vc.names, fit.vcomp, strict=True))
    assert min(of.values()) > 0
    assert variance == pytest.approx(of["fold"] / 5 + of["seed"] / 3 + fit.scale / 15, rel=1e-3)
    assert variance**0.5 == pytest.approx(float(fit.bse["Intercept"]), rel=1e-3)


def test_a_scan_of_two_folds_counts_as_one() -> None:
    # folds of scans {0, 1} and {1, 2}: the mean of a fold holds half of scan 1, the covariance is s^2 / 4
    scans = np.array([[0.4, 0.6, math.nan], [math.nan, 0.6, 0.2]])
    terms = variance_terms(Sample(np.array([0.5, 0.4]), (), scans))
    within = ((0.1**2 + 0.1**2) + (0.2**2 + 0.2**2)) / 2
    assert terms[1].name == "shared scans" and terms[1].degrees == 2
    assert terms[1].value == pytest.approx(2 * within / 4 / 2)
    sample = Sample(np.array([0.5, 0.4]), (), scans)
    assert len(sample.scan_values) == 3 and sample.scan_deviation == pytest.approx(
        np.std([0.4, 0.6, 0.2], ddof=1)
    )


def test_support_scans_are_resampled_across_folds() -> None:
    """Every query scan has support s under support s: the variance of the mean is that of the supports."""
    of_supports = np.array([0.1, 0.4, 0.5, 0.6, 0.9])
    supports = np.tile(of_supports, (2, 3, 1))
    means = np.array([0.5, 0.5])
    terms = variance_terms(Sample(means, (), np.full((2, 3), 0.5), None, supports))
    assert terms[-1].name == "supports" and terms[-1].degrees == 4
    assert terms[-1].value == pytest.approx(of_supports.var(ddof=1) / 5, rel=0.1)


def test_sign_flips_worked_by_hand() -> None:
    # |1 + 2 + 3| is reached by 2 of 8 signs; |-1 + 2 + 3| = 4 by +++, -++ and their opposites
    flip = sign_flip_test([1.0, 2.0, 3.0])
    assert flip is not None and (flip.p, flip.smallest, flip.folds, flip.is_exact) == (0.25, 0.25, 3, True)
    other = sign_flip_test([-1.0, 2.0, 3.0, math.nan])
    assert other is not None and other.p == pytest.approx(0.5) and other.folds == 3
    assert sign_flip_test([1.0]) is None
    five = sign_flip_test([1.0, 2.0, 3.0, 4.0, 5.0])
    assert five is not None and five.p == five.smallest == 2 / 2**5


@pytest.mark.parametrize("folds", [2, 5, 8])
def test_sign_flips_are_all_signs(folds: int) -> None:
    values = np.random.default_rng(folds).normal(0.3, 1, folds)
    sums = [abs(np.dot(signs, values)) for signs in itertools.product((1, -1), repeat=folds)]
    flip = sign_flip_test(values.tolist())
    assert flip is not None
    assert flip.p == pytest.approx(np.mean(np.array(sums) >= abs(values.sum()) - 1e-12))


def test_many_folds_draw_signs() -> None:
    values = np.random.default_rng(0).normal(0.2, 1, 30)
    flip = sign_flip_test(values.tolist())
    assert flip is not None and not flip.is_exact and flip == sign_flip_test(values.tolist())
    assert flip.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.02)


def test_holm_worked_by_hand() -> None:
    # sorted 0.01 0.02 0.03 0.04, times 4 3 2 1: 0.04 0.06 0.06 0.04, never falling: 0.04 0.06 0.06 0.06
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.04, None, 0.01]) == [pytest.approx(0.04), None, pytest.approx(0.02)]
    assert holm([]) == [] and holm([None]) == [None]


def test_the_effect_over_scans_is_wilcoxons_without_p() -> None:
    differences = [0.1, -0.02, 0.2, 0.05, 0.02, 0.0]
    sample = Sample(np.array([0.05]), (), np.array([differences]))
    effect = scan_effect(sample)
    assert (effect.scans, effect.better, effect.equal) == (6, pytest.approx(4 / 6), pytest.approx(1 / 6))
    assert effect.median == pytest.approx(np.median(differences))
    assert effect.rank_biserial == pytest.approx(12 / 15)  # sizes 2 2 5 10 20: W- = 1.5, W+ = 13.5
    statistic = stats.wilcoxon([d for d in differences if d]).statistic
    assert (15 - 2 * statistic) / 15 == pytest.approx(effect.rank_biserial)
    assert scan_effect(Sample(np.array([0.0]), (), np.array([[0.0]]))).rank_biserial is None


def test_a_pair_of_rows_is_paired_by_fold_and_seed() -> None:
    a, b = nested(4, 3, 2, 8, 2, draw=1), nested(4, 3, 2, 8, 2, draw=2)
    made = compare_values(row(a), row(b))
    by_fold = np.nanmean(a - b, axis=(0, 2))
    assert made.overall.fold_differences == pytest.approx(by_fold) and made.unpaired == 0
    assert (
        made.overall.estimate
        == pytest.approx(made.overall.a - made.overall.b)
        == pytest.approx(by_fold.mean())
    )
    (table,) = made.sample.seed_tables
    assert table == pytest.approx(np.nanmean(a - b, axis=2))
    other = sample_of_difference(*pair_values(row(a), row(b[:2]))[:2])
    assert len(other.seed_tables) == 2 and other.seed_scans is None and variance_components(other) is None
    yardstick = compare_values(row(a), row(b[:1], depends_on_seed=False))
    assert yardstick.overall.is_significant is not None and len(yardstick.sample.seed_tables) == 1
    alone = compare_values(row(a), row(b[:1])).overall
    assert alone.interval is not None and not alone.interval.covers_seeds
    assert (alone.p, alone.sign_flip, alone.is_significant) == (None, None, None)


def test_a_value_without_its_pair_is_left_out_of_both() -> None:
    a, b = nested(4, 0, 2, 8, 2, seeds=1, draw=1), nested(4, 0, 2, 8, 2, seeds=1, draw=2)
    b[0, 0, 1] = math.nan
    first, second, unpaired = pair_values(row(a), row(b))
    assert unpaired == 1 and np.isnan(first.by_seed[0, 0, 0, 1])
    assert sample_of_difference(first, second).fold_means[0] == pytest.approx(np.nanmean(a[0, 0] - b[0, 0]))


def test_ranks_agree_with_paired_intervals() -> None:
    """Of two rows the rank is certain exactly where the t interval of their difference excludes 0."""
    generator = np.random.default_rng(4)
    certain = 0
    for _case in range(60):
        a, b = generator.normal(0, 1, 5), generator.normal(generator.uniform(-3, 3), 1, 5)
        difference = t_interval(fold_sample(*(a - b)))
        assert difference is not None
        distance = min(abs(difference.low), abs(difference.high)) / (difference.high - difference.low)
        if distance < 0.05:  # the draws decide
            continue
        excludes = difference.low > 0 or difference.high < 0
        first, second = rank_intervals([fold_sample(*a), fold_sample(*b)])
        assert first is not None and second is not None
        assert (first[0] == first[1]) == (second[0] == second[1]) == excludes
        certain += excludes
    assert 10 < certain < 50


def test_draws_have_the_quantiles_of_the_interval() -> None:
    table = nested(4, 3, 2, 0, 0, scans=1, draw=5)
    sample = sample_of(row(table))
    drawn = draw_means([sample], replicates=200_000)[0]
    low, high = np.quantile(drawn, [0.025, 0.975])
    wanted = ends(t_interval(replace(sample, seed_tables=())))
    plain = draw_means([replace(sample, seed_tables=())], replicates=200_000)[0]
    assert np.quantile(plain, [0.025, 0.975]) == pytest.approx(wanted, rel=0.02)
    assert high - low > wanted[1] - wanted[0]


def test_ranks_of_rows_with_one_seed() -> None:
    table = np.array([MEANS])
    one = fold_sample(*MEANS, tables=(table,))
    better, worse = (fold_sample(*(mean + shift for mean in MEANS)) for shift in (0.2, -0.2))
    assert rank_intervals([better, worse]) == [(1, 1), (2, 2)]
    assert rank_intervals([better, one, worse]) == [(1, 2), None, (2, 3)]
    assert rank_intervals([one]) == [None] and rank_intervals([fold_sample(0.5)]) == [None]
    assert rank_intervals([better, better]) == [(1, 1), (1, 1)]


def test_components_of_a_balanced_design_are_those_of_its_mean_squares() -> None:
    values = 0.01 * nested(5, 4, 3, 8, 2, seeds=4, folds=6, scans=5, draw=8)
    found = variance_components(sample_of(row(values)))
    assert found is not None and found.seed is not None and found.model is not None and found.rest is not None
    table = values[~np.isnan(values)].reshape(4, 6, 5)
    cells = table.mean(axis=2)
    folds, seeds, scans = cells.mean(axis=0), cells.mean(axis=1), table.mean(axis=0)
    residual = table - cells[:, :, None] - scans + folds[:, None]
    rest = (residual**2).sum() / (6 * 3 * 4)
    of_cells = 5 * ((cells - folds - seeds[:, None] + cells.mean()) ** 2).sum() / (5 * 3)
    of_scans = 4 * ((scans - folds[:, None]) ** 2).sum() / (6 * 4)
    of_seeds, of_folds = 30 * seeds.var(ddof=1), 20 * folds.var(ddof=1)
    assert found.rest == pytest.approx(rest**0.5, rel=1e-3)
    assert found.scan == pytest.approx(((of_scans - rest) / 4) ** 0.5, rel=1e-3)
    assert found.model == pytest.approx(((of_cells - rest) / 5) ** 0.5, rel=1e-3)
    assert found.seed == pytest.approx(((of_seeds - of_cells) / 30) ** 0.5, rel=1e-3)
    assert found.fold == pytest.approx(((of_folds - of_cells - of_scans + rest) / 20) ** 0.5, rel=1e-3)
    assert found.design == Design(6, 4, 5.0)


def _balanced_effects(values: np.ndarray) -> tuple[float, float]:
    """Return the REML deviations of fold and scan of a balanced table (F,n): mean squares, cut at 0."""
    folds, scans = values.shape
    between = scans * values.mean(axis=1).var(ddof=1)
    within = ((values - values.mean(axis=1, keepdims=True)) ** 2).sum() / (folds * (scans - 1))
    if between < within:
        return 0.0, values.std(ddof=1)
    return ((between - within) / scans) ** 0.5, within**0.5


@pytest.mark.parametrize("draw", range(12))
def test_components_of_one_seed_are_mean_squares_also_at_their_bound(draw: int) -> None:
    """Gradient methods of statsmodels end elsewhere in about half of such tables."""
    values = 0.01 * nested((0, 1, 3, 8)[draw % 4], 0, 0, 8, 0, seeds=1, draw=draw)
    found = variance_components(sample_of(row(values)))
    fold, scan = _balanced_effects(values[~np.isnan(values)].reshape(5, 4))
    assert found is not None
    assert found.fold == pytest.approx(fold, abs=2e-4, rel=1e-3) and found.scan == pytest.approx(
        scan, rel=2e-3
    )


@pytest.mark.parametrize(
    "effects", [(8, 1, 0, 1, 1), (0, 8, 1, 8, 3), (1, 0, 1, 0, 8), (8, 3, 0, 0, 0), (3, 0, 0, 8, 0)]
)
def test_components_may_be_0(effects: tuple[float, ...]) -> None:
    found = variance_components(sample_of(row(0.01 * nested(*effects, draw=6))))
    assert found is not None and found.seed is not None and found.model is not None and found.rest is not None
    parts = (found.fold, found.seed, found.model, found.scan, found.rest)
    assert all(part >= 0 for part in parts)
    largest = max(range(5), key=lambda place: effects[place])
    assert parts[largest] > 0.2 * 0.01 * effects[largest]
    assert all(part < 0.04 for part, size in zip(parts, effects, strict=True) if size == 0)


def test_components_of_one_seed_and_of_nothing() -> None:
    one = variance_components(sample_of(row(nested(5, 0, 0, 8, 0, seeds=1, folds=8, draw=2))))
    assert one is not None and (one.seed, one.model, one.rest) == (None, None, None)
    assert one.fold >= 0 and 4 < one.scan < 12
    flat = variance_components(sample_of(row(np.where(np.isnan(nested(1, 1, 1, 1, 1)), np.nan, 0.5))))
    assert flat is not None and (flat.fold, flat.seed, flat.scan) == (0.0, 0.0, 0.0)
    assert variance_components(sample_of(row(nested(1, 1, 1, 1, 1, scans=1)))) is None
    assert variance_components(sample_of(row(nested(1, 1, 1, 1, 1, folds=1)))) is None


def test_what_narrows_the_interval_worked_by_hand() -> None:
    found = Components(0.04, 0.0, 0.02, 0.08, 0.02, Design(5, 3, 4.0))
    variance = (0.04**2 + 0.02**2 / 3 + (0.08**2 + 0.02**2 / 3) / 4) / 5
    assert found.half_width(found.design) == pytest.approx(stats.t.ppf(0.975, 4) * variance**0.5)
    twice = Design(10, 3, 4.0)
    assert found.half_width(twice) == pytest.approx(stats.t.ppf(0.975, 9) * (variance / 2) ** 0.5)
    assert found.half_width(Design(5, 6, 4.0)) < found.half_width(found.design)
