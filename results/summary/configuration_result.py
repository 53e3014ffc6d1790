"""The result of one configuration: Dice per fold, class and group, with mean and standard deviation.

`results/summary/frame.py` computes the means. A cell of the grid without a record is `missing`; a mean over
folds that needs it is then None.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from fewshot.base.errors import UserError
from fewshot.files.atomic_io import canonical_json
from results.records.configuration import configuration, configuration_id, has_same_result, question
from results.records.record import Record
from results.summary.frame import (
    Means,
    Spread,
    mean_over,
    record_frame,
    scan_means,
    spread_of_folds,
    undefined_scores,
)

Cell = tuple[int, str]  # fold, group
Column = tuple[str, str]  # group, class


@dataclass(frozen=True)
class ConfigurationResult:
    """All cells of one configuration; ratios in [0, 1], or `None` if undefined or missing."""

    record: Record  # any of the cells, for the fields that all share
    cells: Mapping[Cell, Record]

    @property
    def configuration_id(self) -> str:
        """Return the hex digits that name the configuration; all seeds share them."""
        return configuration_id(self.record)

    @property
    def folds(self) -> range:
        """Return every fold of the complete grid."""
        return range(self.record.grid.folds)

    @property
    def groups(self) -> tuple[str, ...]:
        """Return every group of the complete grid, by name."""
        return tuple(sorted(self.record.grid.groups))

    @property
    def columns(self) -> tuple[Column, ...]:
        """Return (group, class) of every class column."""
        return tuple((group, name) for group in self.groups for name in self.record.grid.groups[group])

    @property
    def missing(self) -> tuple[Cell, ...]:
        """Return the cells of the grid that have no record."""
        every = ((fold, group) for fold in self.folds for group in self.groups)
        return tuple(cell for cell in every if cell not in self.cells)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Return the scores of all cells: `record_frame`."""
        return record_frame(self.cells.values())

    @cached_property
    def means(self) -> Means:
        """Return the means of Dice over the cells that have a record."""
        return Means(scan_means(self.frame))

    @cached_property
    def support_means(self) -> pd.Series[float]:
        """Return the defined mean Dice over query scans by (fold, group, class, supports), in [0, 1]."""
        values: pd.Series[float] = self.frame.set_index(["fold", "group", "class", "supports", "scan"])[
            "dice"
        ]
        return mean_over(values, "scan").dropna()

    def class_dice(self, fold: int, column: Column) -> float | None:
        """Return the mean over scans of one class in one fold."""
        return _defined(self.means.of_class([fold], *column)[0])

    def group_dice(self, fold: int, group: str) -> float | None:
        """Return the mean over the classes of a group in one fold; None if its cell is missing."""
        return _defined(self.means.of_group([fold], group)[0])

    def fold_dice(self, fold: int) -> float | None:
        """Return the mean over all classes in one fold; None if a cell of the fold is missing."""
        if any(missing_fold == fold for missing_fold, _group in self.missing):
            return None
        return _defined(self.means.of_all([fold])[0])

    def class_spread(self, column: Column) -> Spread | None:
        """Return mean and deviation of a class over folds; None if a cell of its group is missing."""
        return self._spread(self.means.of_class(self.folds, *column), (column[0],))

    def group_spread(self, group: str) -> Spread | None:
        """Return mean and deviation of a group over folds; None if one of its cells is missing."""
        return self._spread(self.means.of_group(self.folds, group), (group,))

    def spread(self) -> Spread | None:
        """Return mean and deviation over folds of all classes; None if any cell is missing."""
        return self._spread(self.means.of_all(self.folds), self.groups)

    def undefined(self) -> tuple[tuple[int, str, str, str], ...]:
        """Return (fold, class, scan, reason) of every undefined score."""
        return undefined_scores(self.frame)

    def scores(self) -> int:
        """Return the number of scores, undefined ones included."""
        return len(self.frame)

    def _spread(self, dices: Iterable[float], groups: Sequence[str]) -> Spread | None:
        if any(group in groups for _fold, group in self.missing):
            return None
        return spread_of_folds(dices)


def configuration_results(records: Iterable[Record]) -> list[ConfigurationResult]:
    """Return one result per distinct configuration and seed, in a fixed order.

    `configuration` lists the fields that must be equal. Two different records of one cell raise `UserError`.
    """
    cells_of: dict[str, dict[Cell, Record]] = {}
    for record in records:
        cells = cells_of.setdefault(canonical_json(configuration(record)), {})
        cell = (record.fold, record.group)
        cells[cell] = _one_of(cells[cell], record) if cell in cells else record
    made = []
    for cells in cells_of.values():
        ordered = dict(sorted(cells.items()))
        made.append(ConfigurationResult(next(iter(ordered.values())), ordered))
    return sorted(
        made, key=lambda result: canonical_json([question(result.record), configuration(result.record)])
    )


def _one_of(a: Record, b: Record) -> Record:
    """Return the first by content of two records of one cell, whatever their order; refuse two results."""
    first, second = sorted((a, b), key=lambda record: canonical_json(record.to_json()))
    if has_same_result(first, second):
        return first
    raise UserError(
        f"two different records of {first.method.name}, {first.dataset.name} setting {first.setting}, "
        f"fold {first.fold}, group {first.group}: models {first.model.key} and {second.model.key}; "
        f"{contradiction_remedy([first, second])}"
    )


def contradiction_remedy(records: Sequence[Record]) -> str:
    """Return the end of an error message: what to do about different records of one cell."""
    if all(record.model.checkpoint == "external" for record in records):
        return "keep one of them, or evaluate one of the checkpoints again with --name NAME"
    return "keep one of them in the folder of records"


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value
