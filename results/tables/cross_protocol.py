"""Table of one model under several protocols: it shows the effect of the protocol's rules alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fewshot.files.atomic_io import canonical_json
from results.records.configuration import configuration
from results.summary.configuration_result import ConfigurationResult
from results.summary.machines import machine_notes
from results.summary.notes import labels_text
from results.tables.text_table import Grid

ABSENT = "-"  # the protocol does not test the class


def across_protocols(results: Sequence[ConfigurationResult]) -> list[list[ConfigurationResult]]:
    """Return one group of results per model that was evaluated under at least two protocols."""
    groups: dict[str, list[ConfigurationResult]] = {}
    for result in sorted(results, key=_protocol):
        groups.setdefault(canonical_json(_model(result)), []).append(result)
    return [group for group in groups.values() if len({_protocol(result) for result in group}) > 1]


def protocols_table(results: Sequence[ConfigurationResult]) -> Grid:
    """Return one row per protocol and evaluated fold, and one row with mean and deviation over folds.

    Dice is in percent; a class column is the mean over query scans. A protocol with a missing cell has no
    mean over folds.
    """
    classes = tuple(dict.fromkeys(name for result in results for _group, name in result.columns))
    rows = []
    for result in results:
        column_of = {name: (group, name) for group, name in reversed(result.columns)}
        label = _protocol(result) + (" !" if _own_marks(result, results) else "")
        for fold in result.folds:
            if any(cell_fold == fold for cell_fold, _group in result.cells):
                dices = [
                    result.class_dice(fold, column_of[name]) if name in column_of else None
                    for name in classes
                ]
                rows.append((label, str(fold), *map(_dice, dices), _dice(result.fold_dice(fold))))
        spreads = [result.class_spread(column_of[name]) if name in column_of else None for name in classes]
        means = [_dice(spread.mean) if spread else ABSENT for spread in spreads]
        spread = result.spread()
        mean = "incomplete" if result.missing else "undefined"
        if spread is not None:
            mean = _dice(spread.mean) + (f" ± {100 * spread.std:.2f}" if spread.std is not None else "")
        rows.append((label, "all", *means, mean))
    return Grid(("protocol", "fold", *classes, "mean"), tuple(rows), None)


def protocols_notes(results: Sequence[ConfigurationResult]) -> list[str]:
    """Return the lines under the table: units, labels, machines and marks."""
    lines = ["Dice in percent, mean over query scans; rows of one model differ in the rules alone."]
    lines.append("all: mean ± standard deviation over folds (n-1), only where every fold and group is there")
    lines += [labels_text(results[0].record)] if labels_text(results[0].record) else []
    lines += [f"MARKED: {mark}" for mark in results[0].record.audits if mark in _shared_marks(results)]
    for result in results:
        lines += [f"{_protocol(result)}: {note}" for note in machine_notes(result.cells.values())]
        lines += [f"MARKED: {_protocol(result)}: {mark}" for mark in _own_marks(result, results)]
    return lines


def protocols_title(results: Sequence[ConfigurationResult]) -> str:
    """Return method, dataset, setting and protocols of a group of results."""
    record = results[0].record
    names = ", ".join(dict.fromkeys(_protocol(result) for result in results))
    about = f"{record.method.name} on {record.dataset.name}, setting {record.setting}"
    return f"{about}, under {names}"


def _model(result: ConfigurationResult) -> dict[str, Any]:
    """Return the configuration without the fields that depend on the protocol."""
    protocol_fields = ("protocol", "grid", "parts", "audits")
    return {key: value for key, value in configuration(result.record).items() if key not in protocol_fields}


def _shared_marks(results: Sequence[ConfigurationResult]) -> set[str]:
    """Return the marks that the records of all protocols carry, such as those of the model's recipe."""
    return set.intersection(*(set(result.record.audits) for result in results))


def _own_marks(result: ConfigurationResult, results: Sequence[ConfigurationResult]) -> list[str]:
    shared = _shared_marks(results)
    return [mark for mark in result.record.audits if mark not in shared]


def _protocol(result: ConfigurationResult) -> str:
    return str(result.record.protocol.name)


def _dice(dice: float | None) -> str:
    return ABSENT if dice is None else f"{100 * dice:.2f}"
