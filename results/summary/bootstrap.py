"""The bootstrap of scans: how far a mean over folds moves when other scans of the same folds are drawn.

Scans are drawn anew within their fold, with all their classes. The draws depend on names and scans alone, so
rows that segmented the same scans share them, and a difference of two rows is one of the same draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from results.summary.configuration_result import Column
from results.summary.statistics import REPLICATES, Floats, mean_of_defined, resampled, weighted_means


@dataclass(frozen=True)
class FoldScans:
    """The scans of one fold, in order, and their values (scans, columns); NaN where undefined or missing."""

    fold: int
    scans: tuple[str, ...]
    values: Floats


def fold_scans(scans: pd.Series[float], folds: Sequence[int], columns: Sequence[Column]) -> list[FoldScans]:
    """Return the scans of each fold, by number where ids are numbers.

    Args:
        scans: value by (fold, group, class, scan), as `results.frame.Means` holds it.
        folds: the folds, in order.
        columns: (group, class) of the columns, in order.
    """
    by_fold: dict[int, dict[str, dict[Column, float]]] = {fold: {} for fold in folds}
    for (fold, group, name, scan), value in zip(scans.index.tolist(), scans.tolist(), strict=True):
        by_fold[fold].setdefault(scan, {})[group, name] = value
    found = []
    for fold, rows in by_fold.items():
        names = tuple(sorted(rows, key=_scan_order))
        values = [[rows[scan].get(column, math.nan) for column in columns] for scan in names]
        found.append(
            FoldScans(fold, names, np.array(values, dtype=np.float64).reshape(len(names), len(columns)))
        )
    return found


def draw_weights(folds: Sequence[FoldScans], *names: str | int, replicates: int = REPLICATES) -> list[Floats]:
    """Return how often a scan is drawn, (replicates, scans) by fold; `names` and folds seed the draws."""
    return [resampled(one.scans, *names, one.fold, replicates=replicates) for one in folds]


def replicate_means(
    folds: Sequence[FoldScans], weights: Sequence[Floats], columns: Sequence[Column]
) -> Floats:
    """Return the mean over folds in each replicate: (replicates, columns + groups + 1).

    The columns are the classes, then the mean over each group's classes by the group's name, then the mean
    over all classes. A class without a drawn value is left out of that replicate's mean over classes.
    """
    groups = sorted({group for group, _name in columns})
    places = [[place for place, column in enumerate(columns) if column[0] == group] for group in groups]
    drawn = []
    for fold, drawn_scans in zip(folds, weights, strict=True):
        classes = weighted_means(fold.values, drawn_scans)
        means = [mean_of_defined(classes[:, some], 1)[:, None] for some in places]
        drawn.append(np.concatenate([classes, *means, mean_of_defined(classes, 1)[:, None]], axis=1))
    return mean_of_defined(np.stack(drawn), 0)


def _scan_order(scan: str) -> tuple[bool, int, str]:
    return (not scan.isdecimal(), int(scan) if scan.isdecimal() else 0, scan)
