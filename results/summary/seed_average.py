"""One configuration averaged over its seeds: a row of a board, and its values under one measure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from fewshot.files.atomic_io import canonical_json
from results.metrics.measures import measure
from results.records.configuration import configuration_id, configuration_without_seed
from results.records.record import HYBRID, Record
from results.records.record_parts import Score
from results.summary.configuration_result import Cell, ConfigurationResult
from results.summary.frame import Means, record_frame, scan_means, undefined_scores
from results.summary.notes import distinct_labels, labels_text, training_text

Reading = Callable[[Record, Score], tuple[float | None, str | None]]


@dataclass(frozen=True)
class SeedAverage:
    """The results of one configuration, one per seed; either all are complete, or there is only one."""

    results: tuple[ConfigurationResult, ...]

    @property
    def first(self) -> ConfigurationResult:
        """Return the result of the first seed, for the fields that all seeds share."""
        return self.results[0]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds in ascending order."""
        return tuple(sorted(result.record.model.seed for result in self.results))

    @property
    def missing(self) -> tuple[Cell, ...]:
        """Return the cells of the grid that have no record."""
        return tuple(cell for result in self.results for cell in result.missing)

    @property
    def cells(self) -> tuple[Record, ...]:
        """Return the records of all seeds."""
        return tuple(record for result in self.results for record in result.cells.values())

    @property
    def method(self) -> str:
        """Return the method's name."""
        return self.first.record.method.name

    @cached_property
    def configuration_id(self) -> str:
        """Return the hex digits that name the configuration; all seeds share them."""
        return configuration_id(self.first.record)


@dataclass(frozen=True)
class Values:
    """A row under one measure.

    Attributes:
        means: its means, seeds averaged per scan.
        frame: a row per score of every seed: `record_frame` with the measure in `value`.
    """

    means: Means
    frame: pd.DataFrame

    @property
    def undefined(self) -> tuple[tuple[int, str, str, str], ...]:
        """Return (fold, class, scan, reason) of every undefined score, of every seed."""
        return undefined_scores(self.frame)

    @property
    def scores(self) -> int:
        """Return the number of scores, undefined ones included."""
        return len(self.frame)


def average_seeds(results: Iterable[ConfigurationResult]) -> tuple[list[SeedAverage], list[str]]:
    """Return one row per configuration for results of one question, and a reason for each omission.

    `seed_rows` averages the seeds. Hybrid records (`--allow-mismatch`) are left out.
    """
    kept, left_out = [], []
    for result in results:
        if any(mark.startswith(HYBRID) for mark in result.record.audits):
            marks = "; ".join(result.record.audits)
            left_out.append(f"{len(result.cells)} records of {_name(result)}: {marks}")
        else:
            kept.append(result)
    rows, more = seed_rows(kept)
    return rows, [*left_out, *more]


def seed_rows(results: Iterable[ConfigurationResult]) -> tuple[list[SeedAverage], list[str]]:
    """Return one row per configuration, hybrids included, and a reason for each omitted seed.

    If at least one seed is complete, seeds with missing cells are left out. Otherwise the row is the seed
    with the most cells.
    """
    by_configuration: dict[str, list[ConfigurationResult]] = {}
    for result in results:
        by_configuration.setdefault(canonical_json(configuration_without_seed(result.record)), []).append(
            result
        )
    rows, left_out = [], []
    for seeds in by_configuration.values():
        complete = [result for result in seeds if not result.missing]
        kept = complete or [max(seeds, key=lambda result: len(result.cells))]
        rows.append(SeedAverage(tuple(sorted(kept, key=lambda result: result.record.model.seed))))
        left_out += [
            f"{len(result.cells)} records of {_name(result)}: {len(result.missing)} cells are missing, and "
            "only complete seeds are averaged"
            for result in seeds
            if result not in kept
        ]
    return rows, left_out


def values_of(row: SeedAverage, name: str) -> Values:
    """Return the values of a row under a measure; `name` is a key of `results.metrics.measures.MEASURES`."""
    return values_read(row, lambda _record, score: measure(score, name))


def values_read(row: SeedAverage, read: Reading) -> Values:
    """Return the values of a row; `read(record, score)` returns (value, None) or (None, reason)."""
    pairs = [read(record, score) for record in row.cells for score in record.scores]
    frame = record_frame(row.cells).assign(
        value=[math.nan if value is None else value for value, _reason in pairs],
        undefined=pd.Series([reason for _value, reason in pairs], dtype=object),
    )
    return Values(Means(scan_means(frame, "value")), frame)


def labels(rows: Sequence[SeedAverage]) -> list[str]:
    """Return one label per row; equal labels get the options that differ, or the configuration id."""
    options = [row.first.record.method.options for row in rows]
    return distinct_labels([label(row) for row in rows], options, [row.configuration_id for row in rows])


def label(row: SeedAverage) -> str:
    """Return method, training, checkpoint policy, seeds and labels used of a row, in words."""
    record = row.first.record
    model, trained = record.model, record.train_dataset
    seeds = f"seed {row.seeds[0]}" if len(row.seeds) == 1 else f"{len(row.seeds)} seeds"
    inner = [training_text(record), model.checkpoint, seeds] if model.encoder is not None else []
    inner += [f"trained on {trained.name}"] if trained else []
    inner += [labels_text(record)] if labels_text(record) else []
    return f"{row.method} ({', '.join(inner)})" if inner else row.method


def _name(result: ConfigurationResult) -> str:
    return f"{result.record.method.name}, seed {result.record.model.seed}, #{result.configuration_id}"
