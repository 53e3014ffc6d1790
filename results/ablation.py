"""The table of an ablation: rows of records under several seeds, and how sure their differences are.

A scan's Dice is the mean over supports, then over seeds; a row's number the mean over folds of the mean over
classes of the mean over scans, as every headline's. The interval of a difference is a percentile bootstrap:
scans, not pixels or seeds, are drawn anew, with all their classes, within their fold, the same for both rows.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewshot.base.seeds import seed_for
from results.layout import Grid, as_text
from results.machines import machine_notes
from results.notes import labels_text, training_text, weights_note
from results.record import Record

DRAWS = 10_000
LEVEL = 0.95

Dices = Mapping[int, NDArray[np.float64]]  # fold -> (classes, scans), nan where there is no Dice


@dataclass(frozen=True)
class Row:
    """One row: what to call it, and the records of every seed, all seeds of the same cells."""

    label: str
    records: Mapping[int, Sequence[Record]]


def dices_of(records: Sequence[Record]) -> dict[int, NDArray[np.float64]]:
    """Return fold -> Dice (classes, scans) in [0, 1], nan where undefined, of records of one configuration.

    Classes are those of the records' groups by name, scans those of the fold by id.
    """
    columns = sorted({(record.group, score.class_name) for record in records for score in record.scores})
    found = {}
    for fold in sorted({record.fold for record in records}):
        of_fold = [record for record in records if record.fold == fold]
        scans = sorted({score.scan for record in of_fold for score in record.scores})
        several: dict[tuple[tuple[str, str], str], list[float]] = {}
        for record in of_fold:
            for score in record.scores:
                if score.dice is not None:
                    where = (record.group, score.class_name), score.scan
                    several.setdefault(where, []).append(score.dice)
        found[fold] = np.array(
            [
                [statistics.fmean(several[c, s]) if (c, s) in several else np.nan for s in scans]
                for c in columns
            ]
        )
    return found


def over_seeds(seeds: Sequence[Dices]) -> dict[int, NDArray[np.float64]]:
    """Return the mean over seeds of every class and scan; a seed without a Dice there is left out of it."""
    return {fold: _mean(np.stack([dices[fold] for dices in seeds]), axis=0) for fold in seeds[0]}


def headline(dices: Dices) -> float:
    """Return the mean over folds of the mean over classes of the mean over scans; nan without any Dice."""
    return float(_mean(np.array([_mean(_mean(of_fold, 1), 0) for of_fold in dices.values()]), 0))


def difference_interval(
    ours: Dices, theirs: Dices, draws: int = DRAWS, level: float = LEVEL
) -> tuple[float, float]:
    """Return the bootstrap interval of `headline(ours) - headline(theirs)`, both of the same scans.

    The draws of a fold follow from its number alone, so equal inputs give equal intervals. Percentiles are
    linear between draws. A class that no drawn scan has a Dice of is left out of that draw's mean.
    """
    differences = []
    for fold in ours:
        scans = ours[fold].shape[1]
        chance = np.random.Generator(np.random.PCG64(seed_for("ablation bootstrap", fold)))
        drawn = chance.integers(0, scans, size=(draws, scans))
        means = [_mean(_mean(dices[fold][:, drawn], 2), 0) for dices in (ours, theirs)]
        differences.append(means[0] - means[1])
    low, high = np.nanquantile(_mean(np.stack(differences), 0), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def ablation_table(rows: Sequence[Row]) -> str:
    """Return the table as text: a line per row, differences against the first; Dice in percent."""
    by_seed = [[dices_of(records) for records in row.records.values()] for row in rows]
    means = [over_seeds(seeds) for seeds in by_seed]
    first = next(iter(rows[0].records.values()))
    names = [name for _group, name in sorted({(r.group, s.class_name) for r in first for s in r.scores})]
    reference = f"minus {rows[0].label}"
    header = ("modules", *names, "mean", "± seeds", reference, f"{100 * LEVEL:.0f} % interval")
    lines = []
    for number, row in enumerate(rows):
        classes = [
            _mean(np.array([_mean(d[n], 0) for d in means[number].values()]), 0) for n in range(len(names))
        ]
        whole = headline(means[number])
        of_seeds = [headline(dices) for dices in by_seed[number]]
        spread = _percent(statistics.stdev(of_seeds)) if len(of_seeds) > 1 else "-"
        told = ("", "")
        if number:
            low, high = difference_interval(means[number], means[0])
            told = f"{100 * (whole - headline(means[0])):+.2f}", f"{100 * low:+.2f} to {100 * high:+.2f}"
        lines.append((row.label, *map(_percent, classes), _percent(whole), spread, *told))
    return as_text(_title(first[0]), _subtitle(rows), Grid(header, tuple(lines), None), _notes(rows, first))


def _title(record: Record) -> str:
    trained = record.train_dataset
    data = record.dataset.name + (f" (trained on {trained.name})" if trained else "")
    protocol = f"{record.protocol.name} version {record.protocol.version}"
    return f"ablation of {record.method.name} on {data}, setting {record.setting}, {protocol}"


def _subtitle(rows: Sequence[Row]) -> str:
    seeds = ", ".join(map(str, rows[0].records))
    model = next(iter(rows[0].records.values()))[0].model
    return f"{training_text(model)}; checkpoint {model.checkpoint}; seeds {seeds}"


def _notes(rows: Sequence[Row], first: Sequence[Record]) -> list[str]:
    """Return what a reader must know: how the numbers are made, weights, marks, what was not asked."""
    lines = [
        "Dice in percent: mean over seeds of every scan, then over scans, classes and folds.",
        "± seeds: standard deviation (n-1) of the mean over seeds.",
        f"interval: {DRAWS} bootstrap draws of scans within folds; it knows nothing of other seeds.",
        weights_note(first[0].model),
    ]
    every = [record for row in rows for records in row.records.values() for record in records]
    lines += _of_rows(rows, first[0])
    lines += [f"MARKED: {mark}" for mark in dict.fromkeys(m for record in every for m in record.audits)]
    undefined = sum(score.dice is None for record in every for score in record.scores)
    if undefined:
        lines.append(f"undefined scores, left out of their means: {undefined} of all rows and seeds")
    asked = {(record.fold, record.group) for record in first}
    cells = first[0].grid.folds * len(first[0].grid.groups)
    if len(asked) < cells:
        lines.append(f"INCOMPLETE: {len(asked)} of {cells} cells of a fold and a group; no headline number")
    return lines


def _of_rows(rows: Sequence[Row], first: Record) -> list[str]:
    """Return how a row was trained where that is not as the first, which rows used labels or mix machines."""
    lines = []
    for row in rows:
        record = next(iter(row.records.values()))[0]
        if training_text(record.model) != training_text(first.model):
            lines.append(f"{row.label}: {training_text(record.model)}")
        if labels_text(record):
            lines.append(f"{row.label}: {labels_text(record)}")
        cells = (cell for records in row.records.values() for cell in records)
        lines += [f"{row.label}: {note}" for note in machine_notes(cells)]
    return lines


def _percent(value: float | NDArray[np.float64]) -> str:
    return "undefined" if np.isnan(value) else f"{100 * value:.2f}"


def _mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return the mean of what is no nan along an axis; nan where all is."""
    defined = ~np.isnan(values)
    counts = defined.sum(axis=axis)
    sums = np.where(defined, values, 0.0).sum(axis=axis)
    mean: NDArray[np.float64] = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return mean
