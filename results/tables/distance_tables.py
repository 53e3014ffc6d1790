"""Tables of surface distances: one grid per score, one row per method, and the undefined scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from results.metrics.distances import CONVENTIONS, DISTANCES, EMPTY
from results.records.record import Record
from results.records.record_parts import Score
from results.summary.frame import spread_of_folds
from results.summary.seed_average import SeedAverage, Values, values_read
from results.summary.select_records import question_text
from results.tables.table_formats import FORMATS
from results.tables.text_table import Grid

# (fold, class, scan, supports, seed) -> distance score
DistanceScores = Mapping[tuple[int, str, str, tuple[str, ...], int], Mapping[str, Any]]


def render_distances(
    record: Record,
    rows: Sequence[tuple[str, SeedAverage, DistanceScores]],
    tolerance_mm: float,
    notes: Sequence[str],
    format: str,
) -> str:
    """Return one table per distance score.

    Args:
        record: any record of the rows, for the title.
        rows: (label, row, distance score by fold, class, scan, supports and seed).
        tolerance_mm: tolerance of the normalised surface Dice.
        notes: further lines under each table.
        format: "text", "md" or "tex".
    """
    layout = FORMATS[format]
    parts = []
    for name, title in DISTANCES.items():
        of_rows = [(label, row, distance_values(row, scores, name)) for label, row, scores in rows]
        lines = [
            "mean over folds of the mean over classes of the mean over scans, in the scored slices; seeds "
            "are averaged per scan first; ± is the standard deviation over folds (n-1)",
            f"{CONVENTIONS[name]} (docs/distances.md)",
            EMPTY,
            *_undefined(of_rows),
            *notes,
        ]
        tolerance = f" at a tolerance of {tolerance_mm:g} mm, in percent"
        heading = title + (tolerance if name == "nsd" else "")
        parts.append(layout(f"{heading}, {question_text(record)}", "", _grid(of_rows, name), lines))
    return "\n\n".join(parts)


def score_key(record: Record, score: Score) -> tuple[int, str, str, tuple[str, ...], int]:
    """Return the key of a score among `DistanceScores`."""
    return record.fold, score.class_name, score.scan, tuple(score.supports), record.model.seed


def distance_values(row: SeedAverage, scores: DistanceScores, name: str) -> Values:
    """Return the values of a row under a key of `DISTANCES`; every score of the row must be in `scores`."""

    def read(record: Record, score: Score) -> tuple[float | None, str | None]:
        distance = scores[score_key(record, score)]
        return distance[name], distance["undefined"]

    return values_read(row, read)


def _grid(of_rows: Sequence[tuple[str, SeedAverage, Values]], name: str) -> Grid:
    first = of_rows[0][1].first
    several = len(first.groups) > 1
    header = ("method", *(organ for _group, organ in first.columns), *(first.groups if several else ()))
    scale = 100 if name == "nsd" else 1
    rows = []
    for label, row, values in of_rows:
        means, folds = values.means, row.first.folds
        spreads = [spread_of_folds(means.of_class(folds, *column)) for column in row.first.columns]
        if several:
            spreads += [spread_of_folds(means.of_group(folds, group)) for group in row.first.groups]
        overall = spread_of_folds(means.of_all(folds))
        spreads.append(overall)
        texts = ["undefined" if spread is None else f"{scale * spread.mean:.2f}" for spread in spreads]
        deviation = "-" if overall is None or overall.std is None else f"{scale * overall.std:.2f}"
        undefined = f"{len(values.undefined)}/{values.scores}"
        rows.append((label, *texts, deviation, undefined, f"#{row.configuration_id}"))
    return Grid((*header, "mean", "± folds", "undefined", "configuration"), tuple(rows), None)


def _undefined(of_rows: Sequence[tuple[str, SeedAverage, Values]]) -> list[str]:
    lines = []
    for label, _row, values in of_rows:
        reasons = Counter((name, reason) for _fold, name, _scan, reason in values.undefined)
        text = "; ".join(f"{name} {number}x {reason}" for (name, reason), number in sorted(reasons.items()))
        if text:
            lines.append(f"undefined, left out of their means: {label}: {text}")
    return lines
