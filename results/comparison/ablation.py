"""The table of an ablation: rows of records under several seeds, and intervals of their differences.

`results/summary/frame.py` computes the means of a row. `results/inference` computes the interval of a
difference, with folds and seeds paired.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from results.comparison.significance_formats import signed_interval
from results.inference.interval import Interval, t_interval
from results.inference.row_values import (
    RowValues,
    depends_on_seed,
    frame_values,
    pair_values,
    sample_of_difference,
)
from results.records.record import Record
from results.summary.frame import Means, mean_of, record_frame, scan_means
from results.summary.machines import machine_notes
from results.summary.notes import labels_text, training_text, weights_note
from results.tables.text_table import Grid, render_text


@dataclass(frozen=True)
class AblationRow:
    """One row: its label, and the records of each seed; all seeds have the same cells."""

    label: str
    records: Mapping[int, Sequence[Record]]


def headline(means: Means) -> float:
    """Return the mean over folds of the mean over all classes, in [0, 1]; NaN without any Dice."""
    return mean_of(means.folds)


def difference_interval(ours: RowValues, theirs: RowValues) -> Interval | None:
    """Return the t interval over folds of the difference of two headlines; None for fewer than two folds."""
    first, second, _unpaired = pair_values(ours, theirs)
    return t_interval(sample_of_difference(first, second))


def ablation_table(rows: Sequence[AblationRow]) -> str:
    """Return the table as text: one line per row, differences to the first row; Dice in percent."""
    by_seed = [[_means(records) for records in row.records.values()] for row in rows]
    means = [_means([record for records in row.records.values() for record in records]) for row in rows]
    first = next(iter(rows[0].records.values()))
    columns = _columns(means[0])
    values = [_values(row, columns) for row in rows]
    reference = f"minus {rows[0].label}"
    names = (name for _group, name in columns)
    header = ("modules", *names, "mean", "± seeds", reference, "interval")
    lines = []
    for number, row in enumerate(rows):
        folds = means[number].folds.index
        classes = [mean_of(means[number].of_class(folds, *column)) for column in columns]
        mean = headline(means[number])
        of_seeds = [headline(seed_means) for seed_means in by_seed[number]]
        spread = _percent(statistics.stdev(of_seeds)) if len(of_seeds) > 1 else "-"
        against_first = ("", "")
        if number:
            difference = mean - headline(means[0])
            ends = difference_interval(values[number], values[0])
            against_first = _signed(difference), signed_interval(ends)
        lines.append((row.label, *map(_percent, classes), _percent(mean), spread, *against_first))
    return render_text(
        _title(first[0]), _subtitle(rows), Grid(header, tuple(lines), None), _notes(rows, first)
    )


def _values(row: AblationRow, columns: Sequence[tuple[str, str]]) -> RowValues:
    records = [record for records in row.records.values() for record in records]
    frame = record_frame(records)
    folds = sorted(set(frame["fold"].tolist()))
    return frame_values(
        frame.assign(value=frame["dice"]), folds, columns, depends_on_seed=depends_on_seed(records[0])
    )


def _means(records: Sequence[Record]) -> Means:
    return Means(scan_means(record_frame(records)))


def _columns(means: Means) -> list[tuple[str, str]]:
    """Return (group, class) of every class, by name."""
    index = means.classes.index
    return sorted(set(zip(index.get_level_values("group"), index.get_level_values("class"), strict=True)))


def _title(record: Record) -> str:
    trained = record.train_dataset
    data = record.dataset.name + (f" (trained on {trained.name})" if trained else "")
    protocol = f"{record.protocol.name} version {record.protocol.version}"
    return f"ablation of {record.method.name} on {data}, setting {record.setting}, {protocol}"


def _subtitle(rows: Sequence[AblationRow]) -> str:
    seeds = ", ".join(map(str, rows[0].records))
    first = next(iter(rows[0].records.values()))[0]
    return f"{training_text(first)}; checkpoint {first.model.checkpoint}; seeds {seeds}"


def _notes(rows: Sequence[AblationRow], first: Sequence[Record]) -> list[str]:
    """Return the notes: how the numbers are computed, weights, marks, undefined scores, missing cells."""
    lines = [
        "Dice in percent: mean over seeds of every scan, then over scans, classes and folds.",
        "± seeds: standard deviation (n-1) of the mean over seeds.",
        _interval_note(rows),
        weights_note(first[0].model),
    ]
    every = [record for row in rows for records in row.records.values() for record in records]
    lines += _of_rows(rows, first[0])
    lines += [f"MARKED: {mark}" for mark in dict.fromkeys(m for record in every for m in record.audits)]
    undefined = sum(score.dice is None for record in every for score in record.scores)
    if undefined:
        lines.append(f"undefined scores, left out of their means: {undefined} of all rows and seeds")
    evaluated = {(record.fold, record.group) for record in first}
    cells = first[0].grid.folds * len(first[0].grid.groups)
    if len(evaluated) < cells:
        lines.append(
            f"INCOMPLETE: {len(evaluated)} of {cells} cells of a fold and a group; no headline number"
        )
    return lines


def _interval_note(rows: Sequence[AblationRow]) -> str:
    """Return what the interval means; with one seed no level is claimed."""
    if len(rows[0].records) == 1:
        return "interval: t over fold differences alone, 1 seed; no level is claimed."
    return "interval: 95 %, t over fold differences, with the seeds' own variance; two folds at least."


def _of_rows(rows: Sequence[AblationRow], first: Record) -> list[str]:
    """Return notes on single rows: a training that differs from the first row's, labels used, machines."""
    lines = []
    for row in rows:
        record = next(iter(row.records.values()))[0]
        if training_text(record) != training_text(first):
            lines.append(f"{row.label}: {training_text(record)}")
        if labels_text(record):
            lines.append(f"{row.label}: {labels_text(record)}")
        cells = (cell for records in row.records.values() for cell in records)
        lines += [f"{row.label}: {note}" for note in machine_notes(cells)]
    return lines


def _percent(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{100 * value:.2f}"


def _signed(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{100 * value:+.2f}"
