"""A row of a board: one method as configured, its seeds averaged per scan, as arrays to be resampled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fewshot.base.atomic_io import canonical_json
from results.blocks import Block, Cell, Column
from results.configuration import configuration_id, configuration_without_seed
from results.measures import measure
from results.notes import labels_text, training_text
from results.record import HYBRID, Record, Score
from results.statistics import Floats, mean_of_defined, weighted_means

Reading = Callable[[Record, Score], tuple[float | None, str | None]]


@dataclass(frozen=True)
class Row:
    """The blocks of one configuration, one per seed; all of them complete, or just one."""

    blocks: tuple[Block, ...]

    @property
    def first(self) -> Block:
        """Return one of the blocks: for what all share."""
        return self.blocks[0]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds in ascending order."""
        return tuple(sorted(block.record.model.seed for block in self.blocks))

    @property
    def missing(self) -> tuple[Cell, ...]:
        """Return the cells that must exist and do not."""
        return tuple(cell for block in self.blocks for cell in block.missing)

    @property
    def cells(self) -> tuple[Record, ...]:
        """Return the records of all seeds."""
        return tuple(record for block in self.blocks for record in block.cells.values())

    @property
    def method(self) -> str:
        """Return the method's name."""
        return self.first.record.method.name

    @cached_property
    def configuration_id(self) -> str:
        """Return the hex digits that name the configuration, whatever the seed."""
        return configuration_id(self.first.record)


@dataclass(frozen=True)
class Fold:
    """Values (scans, columns) of one fold's query scans; NaN where undefined or missing."""

    scans: tuple[str, ...]
    values: Floats


@dataclass(frozen=True)
class Values:
    """A row under one measure: a matrix per fold, which columns make a group, and what is undefined.

    The arrays that the methods return have a column per class, then one per group, then the mean of all.
    """

    folds: tuple[Fold, ...]
    groups: tuple[tuple[int, ...], ...]
    undefined: tuple[tuple[int, str, str, str], ...]  # fold, class, scan, reason; once per seed
    scores: int

    def by_fold(self) -> Floats:
        """Return (folds, columns): mean over scans, then over classes."""
        every = [self._with_means(mean_of_defined(fold.values, 0)[None]) for fold in self.folds]
        return np.concatenate(every)

    def replicates(self, weights: Sequence[Floats]) -> Floats:
        """Return (replicates, columns): the mean over folds for weights (R, scans) of each fold's scans."""
        every = [
            self._with_means(weighted_means(fold.values, drawn))
            for fold, drawn in zip(self.folds, weights, strict=True)
        ]
        return mean_of_defined(np.stack(every), 0)

    def _with_means(self, classes: Floats) -> Floats:
        groups = [mean_of_defined(classes[:, list(places)], 1)[:, None] for places in self.groups]
        return np.concatenate([classes, *groups, mean_of_defined(classes, 1)[:, None]], axis=1)


def rows_of(found: Iterable[Block]) -> tuple[list[Row], list[str]]:
    """Return the rows of blocks of one question, and in words what was left out of them and why.

    Seeds of one configuration make one row. A seed with missing cells is left out where another is complete;
    without any the fullest stands alone. Hybrid records (`--allow-mismatch`) are left out.
    """
    kept, left_out = [], []
    for block in found:
        if any(mark.startswith(HYBRID) for mark in block.record.audits):
            marks = "; ".join(block.record.audits)
            left_out.append(f"{len(block.cells)} records of {_name(block)}: {marks}")
        else:
            kept.append(block)
    rows, more = seed_rows(kept)
    return rows, [*left_out, *more]


def seed_rows(found: Iterable[Block]) -> tuple[list[Row], list[str]]:
    """Return a row per configuration, whatever its marks, and in words which seeds were left out and why."""
    by_configuration: dict[str, list[Block]] = {}
    for block in found:
        by_configuration.setdefault(canonical_json(configuration_without_seed(block.record)), []).append(
            block
        )
    rows, left_out = [], []
    for blocks in by_configuration.values():
        whole = [block for block in blocks if not block.missing]
        kept = whole or [max(blocks, key=lambda block: len(block.cells))]
        rows.append(Row(tuple(sorted(kept, key=lambda block: block.record.model.seed))))
        left_out += [
            f"{len(block.cells)} records of {_name(block)}: {len(block.missing)} cells are missing, and "
            "only complete seeds are averaged"
            for block in blocks
            if block not in kept
        ]
    return rows, left_out


def values_of(row: Row, name: str) -> Values:
    """Return the values of a row under a measure: mean over supports, then over seeds, per scan and class."""
    return gathered(row, lambda _record, score: measure(score, name))


def gathered(row: Row, read: Reading) -> Values:
    """Return the values of a row that `read` gives for (record, score): a value, or None and the reason."""
    columns = row.first.columns
    place = {column: number for number, column in enumerate(columns)}
    undefined, scores, folds = [], 0, []
    for fold in row.first.folds:
        found: dict[tuple[str, Column], dict[int, list[float]]] = {}
        for seed, block in enumerate(row.blocks):
            for group in block.groups:
                for score in block.cells[fold, group].scores if (fold, group) in block.cells else ():
                    value, reason = read(block.cells[fold, group], score)
                    of_seeds = found.setdefault((score.scan, (group, score.class_name)), {})
                    scores += 1
                    if value is not None:
                        of_seeds.setdefault(seed, []).append(value)
                    elif reason is not None:
                        undefined.append((fold, score.class_name, score.scan, reason))
        scans = tuple(sorted({scan for scan, _column in found}, key=_scan_order))
        matrix = np.full((len(scans), len(columns)), np.nan)
        line = {scan: number for number, scan in enumerate(scans)}
        for (scan, column), of_seeds in found.items():
            if of_seeds:
                means = [sum(values) / len(values) for values in of_seeds.values()]
                matrix[line[scan], place[column]] = sum(means) / len(means)
        folds.append(Fold(scans, matrix))
    places = tuple(tuple(place[c] for c in columns if c[0] == group) for group in row.first.groups)
    return Values(tuple(folds), places, tuple(undefined), scores)


def labels(rows: Sequence[Row]) -> list[str]:
    """Return a label per row; those that come out alike get their configuration's short hash."""
    texts = [label(row) for row in rows]
    return [
        text if texts.count(text) == 1 else f"{text} #{row.configuration_id}"
        for text, row in zip(texts, rows, strict=True)
    ]


def label(row: Row) -> str:
    """Return method, training, checkpoint policy and seeds of a row in words."""
    record = row.first.record
    model, trained = record.model, record.train_dataset
    seeds = f"seed {row.seeds[0]}" if len(row.seeds) == 1 else f"{len(row.seeds)} seeds"
    inner = [training_text(model), model.checkpoint, seeds] if model.encoder is not None else []
    inner += [f"trained on {trained.name}"] if trained else []
    inner += [labels_text(record)] if labels_text(record) else []
    return f"{row.method} ({', '.join(inner)})" if inner else row.method


def _name(block: Block) -> str:
    return f"{block.record.method.name}, seed {block.record.model.seed}, #{block.configuration_id}"


def _scan_order(scan: str) -> tuple[bool, int, str]:
    return (not scan.isdecimal(), int(scan) if scan.isdecimal() else 0, scan)
