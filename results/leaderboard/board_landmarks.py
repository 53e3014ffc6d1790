"""Block of a board for points: distances in mm and shares of points, a row per configuration and class.

Counts and distances of all folds and seeds of a row are pooled before anything is divided.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from results.inference.interval import Interval
from results.inference.jackknife import jackknife_interval
from results.inference.row_values import depends_on_seed
from results.leaderboard.board import INCOMPLETE, UNDEFINED, Board, LeaderboardRow
from results.metrics.landmarks import GATE_MM, TOLERANCE_MM, LandmarkMeasures
from results.records.record import Record
from results.summary.select_records import question_text
from results.tables.landmark_measures import pooled_measures
from results.tables.text_table import Grid

LENGTHS = {"median_mm": "median, mm", "mean_mm": "mean, mm"}
SHARES = {
    "within": f"within {TOLERANCE_MM:g} mm, %",
    "false_positives": "false positives, %",
    "false_negatives": "false negatives, %",
}


@dataclass(frozen=True)
class LandmarkRow:
    """The points of one class in one row of a board.

    Attributes:
        line: the row of the board of masks.
        class_name: whose points are scored.
        measures: of all folds and seeds together; None if a cell is missing.
        intervals: name in `LENGTHS` or `SHARES` -> 95 % interval over folds; None without one.
    """

    line: LeaderboardRow
    class_name: str
    measures: LandmarkMeasures | None
    intervals: Mapping[str, Interval | None]


def landmark_rows(board: Board) -> list[LandmarkRow]:
    """Return the rows of the block: classes in order, the largest share within the tolerance first.

    [] for a board without points. A row whose records have no point at all is left out.
    """
    classes = [name for kind, name in board.columns if kind == "class"]
    made = [
        _row(line, name)
        for name in classes
        for line in board.lines
        if any(score.class_name == name for record in line.row.cells for score in record.landmarks)
    ]
    return sorted(made, key=lambda row: (classes.index(row.class_name), *_order(row)))


def landmark_title(board: Board) -> str:
    """Return the title of the block."""
    return f"Landmarks on {question_text(board.record)}"


def landmark_grid(rows: Sequence[LandmarkRow]) -> Grid:
    """Return the block as texts; an interval over folds stands in brackets."""
    several = len({row.class_name for row in rows}) > 1
    header = ("method", "marks", *(("class",) if several else ()), "true", "found")
    header += (*LENGTHS.values(), *SHARES.values(), "configuration")
    lines = [
        (
            row.line.label, row.line.marks, *((row.class_name,) if several else ()), *_counts(row),
            *(_text(row, name, 1) for name in LENGTHS), *(_text(row, name, 100) for name in SHARES),
            f"#{row.line.row.configuration_id}",
        )
        for row in rows
    ]  # fmt: skip
    return Grid(header, tuple(lines), None)


def landmark_notes(rows: Sequence[LandmarkRow]) -> list[str]:
    """Return the notes on the block: pairs, pooling, intervals, order."""
    lines = [
        f"points are paired one to one within {GATE_MM:g} mm; median and mean are of the pairs' distances; "
        f"shares: true points found within {TOLERANCE_MM:g} mm, found points without a true one (false "
        "positives), true points without a found one (false negatives) (docs/landmarks.md)",
        "points of all folds and seeds of a row together: counts are summed before they are divided",
    ]
    if any(interval is not None for row in rows for interval in row.intervals.values()):
        lines.append(
            "in brackets: 95 % interval, t over folds by leaving one out, with the seeds' own variance, cut "
            "off at 0 and 100 % (docs/statistics.md); of a row with the mark 1 it covers folds alone and "
            "claims no level"
        )
    if any(row.measures is not None and not _independent(row.line.row.cells) for row in rows):
        lines.append("no interval: folds share query scans, or a scan has several supports")
    lines.append("rows by the share found within the tolerance, without ranks: methods see different labels")
    return lines


def landmarks_json(line: LeaderboardRow, rows: Sequence[LandmarkRow]) -> dict[str, Any]:
    """Return class -> measures of a row as JSON: mm and ratios in [0, 1]; {} without points."""
    return {row.class_name: _json(row) for row in rows if row.line is line}


def _row(line: LeaderboardRow, name: str) -> LandmarkRow:
    """Return the points of a class; the intervals are None unless the folds are independent."""
    cells = [record for record in line.row.cells if name in record.grid.groups.get(record.group, ())]
    scored = all(any(score.class_name == name for score in record.landmarks) for record in cells)
    if line.row.missing or not scored:
        return LandmarkRow(line, name, None, {})
    intervals: dict[str, Interval | None] = dict.fromkeys((*LENGTHS, *SHARES))
    if _independent(cells):
        folds = sorted({record.fold for record in cells})
        seeds = line.row.seeds if depends_on_seed(line.row.first.record) else ()
        for measure in intervals:
            every = partial(_statistic, cells, name, measure)
            own = [
                partial(_statistic, [each for each in cells if each.model.seed == seed], name, measure)
                for seed in seeds
            ]
            most = math.inf if measure in LENGTHS else 1.0
            intervals[measure] = _cut_off(jackknife_interval(every, own, folds), most)
    return LandmarkRow(line, name, pooled_measures(cells, name), intervals)


def _cut_off(interval: Interval | None, most: float) -> Interval | None:
    """Return an interval without the values that a measure cannot have: below 0 and above `most`."""
    if interval is None:
        return None
    return replace(interval, low=max(0.0, interval.low), high=min(most, interval.high))


def _statistic(cells: Sequence[Record], name: str, measure: str, folds: Sequence[int]) -> float:
    chosen = [record for record in cells if record.fold in folds]
    return float(getattr(pooled_measures(chosen, name), measure))


def _independent(cells: Sequence[Record]) -> bool:
    """Say whether no scan is queried in two folds or with several supports."""
    first: dict[str, tuple[int, tuple[str, ...]]] = {}
    return all(
        first.setdefault(score.scan, (record.fold, score.supports)) == (record.fold, score.supports)
        for record in cells
        for score in record.landmarks
    )


def _order(row: LandmarkRow) -> tuple[bool, float, str]:
    within = math.nan if row.measures is None else row.measures.within
    return math.isnan(within), 0.0 if math.isnan(within) else -within, row.line.label


def _counts(row: LandmarkRow) -> tuple[str, str]:
    return ("-", "-") if row.measures is None else (str(row.measures.true), str(row.measures.predicted))


def _text(row: LandmarkRow, name: str, scale: float) -> str:
    """Return a measure with its interval in brackets, or why it has no value."""
    if row.measures is None:
        return INCOMPLETE
    value = float(getattr(row.measures, name))
    if math.isnan(value):
        return UNDEFINED
    digits = 2 if scale == 1 else 1
    interval = row.intervals[name]
    if interval is None:
        return f"{scale * value:.{digits}f}"
    low, high = (f"{scale * end:.{digits}f}" for end in (interval.low, interval.high))
    return f"{scale * value:.{digits}f} ({low} to {high})"


def _json(row: LandmarkRow) -> dict[str, Any]:
    made = row.measures
    if made is None:
        return {"state": INCOMPLETE}
    values: dict[str, Any] = {"state": "", "true": made.true, "found": made.predicted, "pairs": made.pairs}
    for name in (*LENGTHS, *SHARES):
        value, interval = float(getattr(made, name)), row.intervals[name]
        values[name] = None if math.isnan(value) else value
        values[f"{name}_interval"] = None if interval is None else [interval.low, interval.high]
    return values
