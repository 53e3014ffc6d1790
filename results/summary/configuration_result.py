"""Records of one configuration become a block: Dice per fold, class and group, with mean and deviation.

`results/summary/frame.py` makes the means. A cell that the grid names and no record has is `missing`; the
rest then has no mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from fewshot.base.atomic_io import canonical_json
from fewshot.base.errors import UserError
from results.records.configuration import configuration, configuration_id, has_same_result, question
from results.records.record import Record
from results.summary.frame import Means, Spread, record_frame, scan_means, spread_of_folds, undefined_scores

Cell = tuple[int, str]  # fold, group
Column = tuple[str, str]  # group, class


@dataclass(frozen=True)
class ConfigurationResult:
    """All cells of one configuration; ratios in [0, 1], None where undefined or missing."""

    record: Record  # one of them: for what all share
    cells: Mapping[Cell, Record]

    @property
    def configuration_id(self) -> str:
        """Return the hex digits that name the configuration; blocks of other seeds share it."""
        return configuration_id(self.record)

    @property
    def folds(self) -> range:
        """Return every fold a complete block has."""
        return range(self.record.grid.folds)

    @property
    def groups(self) -> tuple[str, ...]:
        """Return every group a complete block has, by name."""
        return tuple(sorted(self.record.grid.groups))

    @property
    def columns(self) -> tuple[Column, ...]:
        """Return (group, class) of every class column."""
        return tuple((group, name) for group in self.groups for name in self.record.grid.groups[group])

    @property
    def missing(self) -> tuple[Cell, ...]:
        """Return the cells that must exist and do not."""
        every = ((fold, group) for fold in self.folds for group in self.groups)
        return tuple(cell for cell in every if cell not in self.cells)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Return the scores of all cells: `record_frame`."""
        return record_frame(self.cells.values())

    @cached_property
    def means(self) -> Means:
        """Return the means of Dice of the cells that are there."""
        return Means(scan_means(self.frame))

    def class_dice(self, fold: int, column: Column) -> float | None:
        """Return the mean over scans of one class in one fold."""
        return _defined(self.means.of_class([fold], *column)[0])

    def group_dice(self, fold: int, group: str) -> float | None:
        """Return the mean over the group's classes in one fold; None where its cell is missing."""
        return _defined(self.means.of_group([fold], group)[0])

    def fold_dice(self, fold: int) -> float | None:
        """Return the mean over all classes in one fold; None where a cell of the fold is missing."""
        if any(missing_fold == fold for missing_fold, _group in self.missing):
            return None
        return _defined(self.means.of_all([fold])[0])

    def class_spread(self, column: Column) -> Spread | None:
        """Return mean and deviation of a class over folds; None where a cell of its group is missing."""
        return self._spread(self.means.of_class(self.folds, *column), (column[0],))

    def group_spread(self, group: str) -> Spread | None:
        """Return mean and deviation of a group over folds; None where one of its cells is missing."""
        return self._spread(self.means.of_group(self.folds, group), (group,))

    def spread(self) -> Spread | None:
        """Return the headline and its deviation; None where any cell is missing."""
        return self._spread(self.means.of_all(self.folds), self.groups)

    def undefined(self) -> tuple[tuple[int, str, str, str], ...]:
        """Return (fold, class, scan, reason) of every score without Dice."""
        return undefined_scores(self.frame)

    def scores(self) -> int:
        """Return how many scores there are, undefined ones included."""
        return len(self.frame)

    def _spread(self, dices: Iterable[float], groups: Sequence[str]) -> Spread | None:
        if any(group in groups for _fold, group in self.missing):
            return None
        return spread_of_folds(dices)


def configuration_results(records: Iterable[Record]) -> list[ConfigurationResult]:
    """Return the blocks of records, one per distinct configuration, in a fixed order.

    Records that differ in protocol, dataset, setting, method, options, source, encoder, initial weights,
    steps, seed, precisions, checkpoint policy and name, shots, parts or marks are never mixed. Two different
    records of one cell are a `UserError`.
    """
    found: dict[str, dict[Cell, Record]] = {}
    for record in sorted(records, key=lambda record: canonical_json(record.to_json())):
        cells = found.setdefault(canonical_json(configuration(record)), {})
        cell = (record.fold, record.group)
        if cell in cells and not has_same_result(cells[cell], record):
            raise UserError(
                f"two different records of {record.method.name}, {record.dataset.name} setting "
                f"{record.setting}, fold {cell[0]}, group {cell[1]}: models {cells[cell].model.key} "
                f"and {record.model.key}; {contradiction_remedy([cells[cell], record])}"
            )
        cells.setdefault(cell, record)
    made = [
        ConfigurationResult(next(iter(cells.values())), dict(sorted(cells.items())))
        for cells in found.values()
    ]
    return sorted(
        made, key=lambda block: canonical_json([question(block.record), configuration(block.record)])
    )


def contradiction_remedy(records: Sequence[Record]) -> str:
    """Return what to do about different records of one cell, for an error."""
    if all(record.model.checkpoint == "external" for record in records):
        return "keep one of them, or evaluate one of the checkpoints again with --name NAME"
    return "keep one of them in the folder of records"


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value
