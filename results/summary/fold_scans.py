"""The scans of each fold with their values, in order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from results.summary.arrays import Floats
from results.summary.configuration_result import Column


@dataclass(frozen=True)
class FoldScans:
    """The scans of one fold, in order, and their values (scans, columns); undefined or missing is NaN."""

    fold: int
    scans: tuple[str, ...]
    values: Floats


def fold_scans(scans: pd.Series[float], folds: Sequence[int], columns: Sequence[Column]) -> list[FoldScans]:
    """Return the scans of each fold; numeric ids are in numeric order.

    Args:
        scans: value by (fold, group, class, scan): `results.summary.frame.Means.scans`.
        folds: the folds, in order.
        columns: (group, class) of the columns, in order.
    """
    by_fold: dict[int, dict[str, dict[Column, float]]] = {fold: {} for fold in folds}
    for (fold, group, name, scan), value in zip(scans.index.tolist(), scans.tolist(), strict=True):
        by_fold[fold].setdefault(scan, {})[group, name] = value
    fold_values = []
    for fold, rows in by_fold.items():
        names = tuple(sorted(rows, key=scan_order))
        values = [[rows[scan].get(column, math.nan) for column in columns] for scan in names]
        fold_values.append(
            FoldScans(fold, names, np.array(values, dtype=np.float64).reshape(len(names), len(columns)))
        )
    return fold_values


def scan_order(scan: str) -> tuple[bool, int, str]:
    """Return the sort key of a scan's id: numeric ids first, as integers (P-14)."""
    return (not scan.isdecimal(), int(scan) if scan.isdecimal() else 0, scan)
