"""Every pair of a board's rows: a paired t-test on fold means, with Holm's correction over the pairs.

A fold is one observation. The scans and classes of a fold share a support and a trained model, so they are no
independent blocks, which the tests of Friedman and Nemenyi would need. The diagram of mean ranks follows
Demsar (2006, JMLR 7). Its bars follow Benavoli et al. (2016, JMLR 17), who replace Nemenyi's test, whose
result for a pair depends on the other methods, by tests of pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from results.inference.interval import t_p_value
from results.inference.paired import DECIMALS, holm
from results.inference.row_values import depends_on_seed, pair_values, row_values, sample_of_difference
from results.summary.arrays import Floats
from results.summary.frame import Means
from results.summary.seed_average import SeedAverage, values_of

ALPHA = 0.05
TEST = (
    "paired t-test on the means of the folds with the variance that seeds add (docs/statistics.md), "
    "two-sided, Holm's correction over all tested pairs"
)


@dataclass(frozen=True)
class Pair:
    """Two rows, the better mean rank first.

    Attributes:
        a, b: names of the rows.
        difference: mean over folds of a minus b, a ratio in [-1, 1].
        p: p of the paired t-test; None where it is not tested.
        corrected: Holm's p; None where it is not tested.
        reason: why the pair is not tested; "" where it is.
    """

    a: str
    b: str
    difference: float
    p: float | None
    corrected: float | None
    reason: str


@dataclass(frozen=True)
class AllPairs:
    """All pairs of rows.

    Attributes:
        names: the rows, best mean rank first.
        means: mean over folds of each row, in [0, 1].
        ranks: mean over folds of each row's rank; rank 1 is the largest mean of a fold, ties share a rank.
        pairs: every pair once, in the order of `names`.
        folds: number of folds.
        seeds_missing: the rows whose training was repeated with no second seed.
    """

    names: tuple[str, ...]
    means: tuple[float, ...]
    ranks: tuple[float, ...]
    pairs: tuple[Pair, ...]
    folds: int
    seeds_missing: frozenset[str]

    def pair(self, a: str, b: str) -> Pair:
        """Return the pair of two names, in either order; an unknown pair raises `KeyError`."""
        for pair in self.pairs:
            if {pair.a, pair.b} == {a, b}:
                return pair
        raise KeyError((a, b))

    def is_significant(self, a: str, b: str) -> bool:
        """Say whether Holm's p of a pair is below `ALPHA`; a pair without a test is not significant."""
        corrected = self.pair(a, b).corrected
        return corrected is not None and corrected < ALPHA

    @property
    def tested(self) -> tuple[str, ...]:
        """Return the rows that the test covers, best mean rank first."""
        return tuple(name for name in self.names if name not in self.seeds_missing)

    @property
    def cliques(self) -> tuple[tuple[str, ...], ...]:
        """Return the longest runs of tested rows, by mean rank, in which no pair differs significantly."""
        names = self.tested
        runs: list[tuple[int, int]] = []
        for first in range(len(names)):
            last = first
            while last + 1 < len(names) and not any(
                self.is_significant(names[place], names[last + 1]) for place in range(first, last + 1)
            ):
                last += 1
            if last > first and (not runs or last > runs[-1][1]):
                runs.append((first, last))
        return tuple(names[first : last + 1] for first, last in runs)


def compare_all(
    fold_means: pd.DataFrame,
    seeds_missing: Collection[str] = (),
    p_of: Callable[[str, str], float | None] | None = None,
) -> AllPairs:
    """Return every pair of rows of a frame.

    A pair is not tested if one of its rows is in `seeds_missing`, if there is one fold, or if its differences
    are equal in all folds, so that no t is defined.

    Args:
        fold_means: float64, a row per method and a column per fold, in [0, 1], without NaN.
        seeds_missing: rows that were trained with one seed only.
        p_of: two-sided p of a pair of names, None if undefined; by default the t-test on the frame, which is
            right where no number depends on a seed.

    Raises:
        ValueError: the frame has no row or no column, a value is NaN, or a name is there twice.
    """
    values = fold_means.to_numpy(dtype=np.float64)
    if not values.size or np.isnan(values).any() or not fold_means.index.is_unique:
        raise ValueError(f"fold means {values.shape}: expected one complete row per name")
    ranks = stats.rankdata(-np.round(values, DECIMALS), axis=0).mean(axis=1)
    order = np.lexsort((np.arange(len(values)), -values.mean(axis=1), ranks)).tolist()
    names = [str(fold_means.index[place]) for place in order]
    lone = frozenset(map(str, seeds_missing)) & set(names)
    sorted_values = values[order]
    places = list(itertools.combinations(range(len(names)), 2))
    differences = np.array([sorted_values[a] - sorted_values[b] for a, b in places])
    differences = differences.reshape(len(places), values.shape[1])
    is_lone = [names[a] in lone or names[b] in lone for a, b in places]
    found = _tests(differences, is_lone)
    if p_of is not None:
        found = [
            (p, reason) if p is None else (p_of(names[a], names[b]), reason)
            for (a, b), (p, reason) in zip(places, found, strict=True)
        ]
    corrected = holm([p for p, _reason in found])
    pairs = tuple(
        Pair(names[a], names[b], float(mean), p, holms_p, reason)
        for (a, b), mean, (p, reason), holms_p in zip(
            places, differences.mean(axis=1), found, corrected, strict=True
        )
    )
    return AllPairs(
        tuple(names), tuple(map(float, sorted_values.mean(axis=1))),
        tuple(float(ranks[place]) for place in order), pairs, values.shape[1], lone,
    )  # fmt: skip


def fold_means(rows: Sequence[SeedAverage], names: Sequence[str], measure: str) -> tuple[pd.DataFrame, str]:
    """Return the fold means of the rows that can be compared, for `compare_all`, and what they cover.

    If some row has every cell, the frame holds the rows with every cell, over all groups. Else it holds the
    rows that have every cell of the group that the most rows have, and the text names this group. A row with
    an undefined fold is left out.

    Args:
        rows: the rows of a board.
        names: their names, all different.
        measure: a key of `results.metrics.measures.MEASURES`.

    Returns:
        Frame (methods x folds) in [0, 1], empty if no row can be compared; "" for all groups, or the name of
        the one group.
    """
    if not rows:
        return pd.DataFrame(), ""
    groups = rows[0].first.groups
    missing = [{group for _fold, group in row.missing} for row in rows]
    complete = {group: sum(group not in gone for gone in missing) for group in groups}
    whole = any(not gone for gone in missing)
    covered = groups if whole else (max(groups, key=lambda group: complete[group]),)
    folds = rows[0].first.folds
    means = {
        name: Means(_within(values_of(row, measure).means.scans, covered)).of_all(folds)
        for row, name, gone in zip(rows, names, missing, strict=True)
        if not gone & set(covered)
    }
    frame = pd.DataFrame.from_dict(means, orient="index", columns=list(folds)).dropna()
    return frame, "" if whole else covered[0]


def trained_once(row: SeedAverage) -> bool:
    """Say whether a row depends on a seed and has one."""
    return depends_on_seed(row.first.record) and len(row.seeds) == 1


def p_of_rows(
    rows: Sequence[SeedAverage], names: Sequence[str], measure: str, group: str
) -> Callable[[str, str], float | None]:
    """Return the function that gives the p of a pair of names: `t_p_value` of their paired fold differences.

    `group` is the group that `fold_means` covers; "" takes all classes.
    """
    values = {name: row_values(row, measure) for row, name in zip(rows, names, strict=True)}

    def p_of(a: str, b: str) -> float | None:
        first, second, _unpaired = pair_values(values[a], values[b])
        return t_p_value(sample_of_difference(first, second, group=group or None))

    return p_of


def _within(scans: pd.Series[float], groups: Collection[str]) -> pd.Series[float]:
    return scans[scans.index.get_level_values("group").isin(list(groups))]


def _tests(differences: Floats, is_lone: Sequence[bool]) -> list[tuple[float | None, str]]:
    """Return (p, "") of a paired t-test for each row of differences (pairs, folds), or (None, reason)."""
    pairs, folds = differences.shape
    if folds < 2:
        return [(None, "1 seed" if lone else "1 fold") for lone in is_lone]
    is_flat = np.ptp(np.round(differences, DECIMALS), axis=1) == 0
    p_values = np.full(pairs, np.nan)
    if not is_flat.all():
        p_values[~is_flat] = stats.ttest_1samp(differences[~is_flat], 0.0, axis=1).pvalue
    return [
        (None, "1 seed") if lone else (None, "equal in all folds") if flat else (float(p), "")
        for lone, flat, p in zip(is_lone, is_flat, p_values, strict=True)
    ]
