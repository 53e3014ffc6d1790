"""A row of a board: one method as configured, with its seeds, and its values under one measure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from fewshot.base.atomic_io import canonical_json
from results.metrics.measures import measure
from results.records.configuration import configuration_id, configuration_without_seed
from results.records.record import HYBRID, Record
from results.records.record_parts import Score
from results.summary.configuration_result import Cell, ConfigurationResult
from results.summary.frame import Means, record_frame, scan_means, undefined_scores
from results.summary.notes import labels_text, training_text

Reading = Callable[[Record, Score], tuple[float | None, str | None]]


@dataclass(frozen=True)
class SeedAverage:
    """The blocks of one configuration, one per seed; all of them complete, or just one."""

    blocks: tuple[ConfigurationResult, ...]

    @property
    def first(self) -> ConfigurationResult:
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
class Values:
    """A row under one measure: its means, what is undefined (once per seed), and the number of scores."""

    means: Means
    undefined: tuple[tuple[int, str, str, str], ...]  # fold, class, scan, reason
    scores: int


def average_seeds(found: Iterable[ConfigurationResult]) -> tuple[list[SeedAverage], list[str]]:
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


def seed_rows(found: Iterable[ConfigurationResult]) -> tuple[list[SeedAverage], list[str]]:
    """Return a row per configuration, whatever its marks, and in words which seeds were left out and why."""
    by_configuration: dict[str, list[ConfigurationResult]] = {}
    for block in found:
        by_configuration.setdefault(canonical_json(configuration_without_seed(block.record)), []).append(
            block
        )
    rows, left_out = [], []
    for blocks in by_configuration.values():
        whole = [block for block in blocks if not block.missing]
        kept = whole or [max(blocks, key=lambda block: len(block.cells))]
        rows.append(SeedAverage(tuple(sorted(kept, key=lambda block: block.record.model.seed))))
        left_out += [
            f"{len(block.cells)} records of {_name(block)}: {len(block.missing)} cells are missing, and "
            "only complete seeds are averaged"
            for block in blocks
            if block not in kept
        ]
    return rows, left_out


def values_of(row: SeedAverage, name: str) -> Values:
    """Return the values of a row under a measure, as `results/metrics/measures.py` names it."""
    return values_read(row, lambda _record, score: measure(score, name))


def values_read(row: SeedAverage, read: Reading) -> Values:
    """Return the values of a row that `read` gives for (record, score): a value, or None and the reason."""
    pairs = [read(record, score) for record in row.cells for score in record.scores]
    frame = record_frame(row.cells).assign(
        value=[math.nan if value is None else value for value, _reason in pairs],
        undefined=pd.Series([reason for _value, reason in pairs], dtype=object),
    )
    return Values(Means(scan_means(frame, "value")), undefined_scores(frame), len(frame))


def labels(rows: Sequence[SeedAverage]) -> list[str]:
    """Return a label per row; those that come out alike get their configuration's short hash."""
    texts = [label(row) for row in rows]
    return [
        text if texts.count(text) == 1 else f"{text} #{row.configuration_id}"
        for text, row in zip(texts, rows, strict=True)
    ]


def label(row: SeedAverage) -> str:
    """Return method, training, checkpoint policy and seeds of a row in words."""
    record = row.first.record
    model, trained = record.model, record.train_dataset
    seeds = f"seed {row.seeds[0]}" if len(row.seeds) == 1 else f"{len(row.seeds)} seeds"
    inner = [training_text(model), model.checkpoint, seeds] if model.encoder is not None else []
    inner += [f"trained on {trained.name}"] if trained else []
    inner += [labels_text(record)] if labels_text(record) else []
    return f"{row.method} ({', '.join(inner)})" if inner else row.method


def _name(block: ConfigurationResult) -> str:
    return f"{block.record.method.name}, seed {block.record.model.seed}, #{block.configuration_id}"
