"""Lines of the landmark track: distances in mm, shares of true and predicted points, pooled over folds."""

from __future__ import annotations

import math
import statistics
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


def landmark_table(rows: Sequence[tuple[str, Sequence[Record]]], class_name: str) -> str:
    """Return a table of the landmark track, a row for each label and its records; points are pooled.

    Args:
        rows: label and records of each row.
        class_name: whose points and Dice are shown; the Dice is the mean over scans, undefined ones left out.
    """
    lines = [
        f"{'':24}{'true':>6}{'found':>7}{'median':>9}{'mean':>9}{f'within {TOLERANCE_MM:g} mm':>14}"
        f"{'false pos.':>12}{'false neg.':>12}{'Dice':>8}"
    ]
    for label, records in rows:
        made = pooled_measures(records, class_name)
        scores = [score for record in records for score in record.scores if score.class_name == class_name]
        dices = [score.dice for score in scores if score.dice is not None]
        mean = f"{100 * statistics.fmean(dices):.2f}" if dices else "-"
        lines.append(
            f"{label:24}{made.true:6}{made.predicted:7}{_number(made.median_mm):>9}{_number(made.mean_mm):>9}"
            f"{_percent(made.within):>14}{_percent(made.false_positives):>12}"
            f"{_percent(made.false_negatives):>12}{mean:>8}"
        )
    lines.append(f"Distances in mm, of pairs within {GATE_MM:g} mm; points of all records of a row together.")
    return "\n".join(lines)
