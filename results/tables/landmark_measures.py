"""Lines of the landmark track: distances in mm, shares of true and predicted points, pooled over folds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from results.metrics.landmarks import GATE_MM, TOLERANCE_MM, LandmarkMeasures, landmark_measures
from results.records.record import Record


def pooled_measures(records: Sequence[Record], class_name: str) -> LandmarkMeasures:
    """Return the measures of one class over all points of all records; counts are summed before a ratio."""
    scores = [score for record in records for score in record.landmarks if score.class_name == class_name]
    return landmark_measures(
        sum(score.true for score in scores),
        sum(len(score.points_mm) for score in scores),
        [distance for score in scores for distance in score.distances_mm],
    )


def landmark_lines(records: Sequence[Record]) -> list[str]:
    """Return a line for each class with points; [] without points."""
    classes = dict.fromkeys(score.class_name for record in records for score in record.landmarks)
    return [f"{name}: {_line(pooled_measures(records, name))}" for name in classes]


def _line(made: LandmarkMeasures) -> str:
    return (
        f"{made.true} true points, {made.predicted} predicted, {made.pairs} pairs within {GATE_MM:g} mm; "
        f"distance median {_number(made.median_mm)} mm, mean {_number(made.mean_mm)} mm; "
        f"within {TOLERANCE_MM:g} mm {_percent(made.within)}, "
        f"false positives {_percent(made.false_positives)}, false negatives {_percent(made.false_negatives)}"
    )


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.2f}"


def _percent(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{100 * value:.1f} %"
