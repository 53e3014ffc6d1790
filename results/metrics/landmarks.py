"""Landmarks: one-to-one matching of predicted and true points, and ratios of its counts; lengths in mm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

GATE_MM = 10.0  # a predicted and a true point farther apart are no pair
TOLERANCE_MM = 5.0  # a true point found within this distance is found well
FORBIDDEN = 1e6  # cost of a pair beyond the gate: more than all pairs within it


def match_points(
    true: NDArray[np.float64], predicted: NDArray[np.float64], gate_mm: float = GATE_MM
) -> list[tuple[int, int, float]]:
    """Return the pairs (true, predicted, distance in mm) of a one-to-one matching.

    The matching has the most pairs within the gate, and among these the least sum of distances (Hungarian
    method). Each point is in at most one pair, so a second prediction of a point is a false positive.

    Args:
        true, predicted: points (R,3) and (P,3) in mm; either may be empty.
        gate_mm: the largest distance of a pair.
    """
    if not len(true) or not len(predicted):
        return []
    distance = np.linalg.norm(true[:, None] - predicted[None], axis=2)
    rows, columns = linear_sum_assignment(np.where(distance <= gate_mm, distance, FORBIDDEN))
    return [
        (int(row), int(column), float(distance[row, column]))
        for row, column in zip(rows, columns, strict=True)
        if distance[row, column] <= gate_mm
    ]


@dataclass(frozen=True)
class LandmarkMeasures:
    """Ratios of pooled counts; NaN where undefined.

    `median_mm`, `mean_mm`: of the distances of pairs; `within`: share of true points found within
    `TOLERANCE_MM`; `false_positives`: share of predicted points without a true one; `false_negatives`: share
    of true points without a predicted one; `true`, `predicted`, `pairs`: the counts.
    """

    median_mm: float
    mean_mm: float
    within: float
    false_positives: float
    false_negatives: float
    true: int
    predicted: int
    pairs: int


def landmark_measures(true: int, predicted: int, distances_mm: Sequence[float]) -> LandmarkMeasures:
    """Return the measures of pooled counts: numbers of true and predicted points, distances of all pairs."""
    pairs = len(distances_mm)
    return LandmarkMeasures(
        float(np.median(distances_mm)) if pairs else math.nan,
        float(np.mean(distances_mm)) if pairs else math.nan,
        _share(sum(distance <= TOLERANCE_MM for distance in distances_mm), true),
        _share(predicted - pairs, predicted),
        _share(true - pairs, true),
        true,
        predicted,
        pairs,
    )


def _share(part: int, total: int) -> float:
    return part / total if total else math.nan
