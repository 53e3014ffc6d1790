"""How much a result depends on which scan is the support, where a protocol takes every one (open-ep).

For one class in one fold, every set of supports has its mean over query scans. The worst support is the least
of these means; the spread of supports is their standard deviation (n-1), 0 for a single set. A fold's number
is the mean over its classes, as in the headline.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import pandas as pd

from results.summary.configuration_result import ConfigurationResult
from results.summary.frame import mean_of, mean_over

COLUMNS = ("worst support", "spread of supports")


def several_supports(block: ConfigurationResult) -> bool:
    """Say whether some class of some scan was segmented from more than one set of supports."""
    defined = block.frame.dropna(subset="dice")
    sets = defined.groupby(["fold", "class", "scan"])["supports"].nunique()
    return bool((sets > 1).any())


def support_means(block: ConfigurationResult) -> pd.Series[float]:
    """Return the mean Dice over query scans by (fold, group, class, supports), in [0, 1], where defined."""
    levels = ["fold", "group", "class", "supports", "scan"]
    values: pd.Series[float] = block.frame.set_index(levels)["dice"]
    return mean_over(values, "scan").dropna()


def worst_support(block: ConfigurationResult, fold: int) -> float | None:
    """Return the mean over classes of the worst support's Dice; None where a cell of the fold is missing."""
    return _over_classes(block, fold, min)


def spread_of_supports(block: ConfigurationResult, fold: int) -> float | None:
    """Return the mean over classes of the deviation (n-1) over supports; None where a cell is missing."""
    return _over_classes(block, fold, lambda dices: statistics.stdev(dices) if len(dices) > 1 else 0.0)


def over_folds(
    block: ConfigurationResult, measure: Callable[[ConfigurationResult, int], float | None]
) -> float | None:
    """Return the mean of one of the two over folds; None where a cell is missing."""
    if block.missing:
        return None
    found = [measure(block, fold) for fold in block.folds]
    return _defined(mean_of(math.nan if value is None else value for value in found))


def _over_classes(
    block: ConfigurationResult, fold: int, measure: Callable[[list[float]], float]
) -> float | None:
    if any(missing == fold for missing, _group in block.missing):
        return None
    means = support_means(block)
    of_fold = means[means.index.get_level_values("fold") == fold]
    classes = of_fold.groupby(level=["group", "class"]).agg(lambda dices: measure(dices.tolist()))
    return _defined(mean_of(classes))


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value
