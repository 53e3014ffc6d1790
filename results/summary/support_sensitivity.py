"""Sensitivity of a result to the choice of the support scan, for protocols that use several (open-ep).

For one class in one fold, each support set has a mean over query scans. The worst support is the smallest of
these means. The spread of supports is their standard deviation (n-1), 0 for a single set. The number of a
fold is the mean over its classes, as in the headline.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

from results.summary.configuration_result import ConfigurationResult
from results.summary.frame import mean_of

COLUMNS = ("worst support", "spread of supports")


def several_supports(result: ConfigurationResult) -> bool:
    """Say whether some class of some scan was segmented from more than one set of supports."""
    defined = result.frame.dropna(subset="dice")
    sets = defined.groupby(["fold", "class", "scan"])["supports"].nunique()
    return bool((sets > 1).any())


def worst_support(result: ConfigurationResult, fold: int) -> float | None:
    """Return the mean over classes of the worst support's Dice; None if a cell of the fold is missing."""
    return _over_classes(result, fold, min)


def spread_of_supports(result: ConfigurationResult, fold: int) -> float | None:
    """Return the mean over classes of the deviation (n-1) over supports; None if a cell is missing."""
    return _over_classes(result, fold, lambda dices: statistics.stdev(dices) if len(dices) > 1 else 0.0)


def over_folds(
    result: ConfigurationResult, measure: Callable[[ConfigurationResult, int], float | None]
) -> float | None:
    """Return the mean over folds of `worst_support` or `spread_of_supports`; None if a cell is missing."""
    if result.missing:
        return None
    values = [measure(result, fold) for fold in result.folds]
    return _defined(mean_of(math.nan if value is None else value for value in values))


def _over_classes(
    result: ConfigurationResult, fold: int, measure: Callable[[list[float]], float]
) -> float | None:
    if any(missing == fold for missing, _group in result.missing):
        return None
    means = result.support_means
    of_fold = means[means.index.get_level_values("fold") == fold]
    classes = of_fold.groupby(level=["group", "class"]).agg(lambda dices: measure(dices.tolist()))
    return _defined(mean_of(classes))


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value
