"""Values of folds for a statistic of pooled counts: those of the leave-one-fold-out jackknife.

A ratio of sums over all folds, or a median over all points, is no mean of fold values. The mean of its
jackknife values is the statistic, and the variance of that mean is the jackknife's (Miller 1974). The
jackknife values of a mean over folds are the fold values themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from results.inference.interval import LEVEL, Interval, t_interval
from results.inference.sample import Sample
from results.summary.arrays import Floats

Statistic = Callable[[Sequence[int]], float]  # of the counts of some folds together; NaN if undefined


def jackknife_values(statistic: Statistic, folds: Sequence[int]) -> Floats:
    """Return a value per fold: the statistic of all folds, less F - 1 times the fold's effect on it.

    The fold's effect is the statistic without the fold, less the mean of these. All values are NaN if one of
    the statistics is, and for fewer than two folds.
    """
    if len(folds) < 2:
        return np.full(len(folds), np.nan)
    without = np.array([statistic([other for other in folds if other != fold]) for fold in folds])
    values: Floats = statistic(folds) - (len(folds) - 1) * (without - without.mean())
    return values


def jackknife_interval(
    statistic: Statistic, by_seed: Sequence[Statistic], folds: Sequence[int], level: float = LEVEL
) -> Interval | None:
    """Return the t interval of a statistic over folds, with the seeds' own variance; None if undefined.

    Args:
        statistic: of all seeds together.
        by_seed: one for each seed; () for a row that depends on no seed.
        folds: independent of each other: no two query one scan.
        level: nominal coverage.
    """
    values = jackknife_values(statistic, folds)
    if np.isnan(values).any() or len(folds) < 2:
        return None
    tables = (np.stack([jackknife_values(each, folds) for each in by_seed]),) if by_seed else ()
    return t_interval(Sample(values, tables, np.full((len(folds), 1), np.nan)), level)
