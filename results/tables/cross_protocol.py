"""One model under several protocols: one table, so that what the rules alone move stands side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fewshot.base.atomic_io import canonical_json
from results.records.configuration import configuration
from results.summary.configuration_result import ConfigurationResult
from results.summary.machines import machine_notes
from results.summary.notes import labels_text
from results.tables.text_table import Grid

ABSENT = "-"  # the protocol does not test the class


def across_protocols(found: Sequence[ConfigurationResult]) -> list[list[ConfigurationResult]]:
    """Return the blocks that differ in protocol alone, those of one model together, where several do."""
    groups: dict[str, list[ConfigurationResult]] = {}
    for block in sorted(found, key=_protocol):
        groups.setdefault(canonical_json(_model(block)), []).append(block)
    return [some for some in groups.values() if len({_protocol(block) for block in some}) > 1]


def protocols_table(some: Sequence[ConfigurationResult]) -> Grid:
    """Return one row per protocol and fold that was asked, and its mean and deviation over folds.

    Dice in percent; a class column is the mean over query scans. The mean of a protocol with a missing cell
    is not made.
    """
    classes = tuple(dict.fromkeys(name for block in some for _group, name in block.columns))
    rows = []
    for block in some:
        own = {name: (group, name) for group, name in reversed(block.columns)}
        label = _protocol(block) + (" !" if _own_marks(block, some) else "")
        for fold in block.folds:
            if any(cell_fold == fold for cell_fold, _group in block.cells):
                dices = [block.class_dice(fold, own[name]) if name in own else None for name in classes]
                rows.append((label, str(fold), *map(_dice, dices), _dice(block.fold_dice(fold))))
        spreads = [block.class_spread(own[name]) if name in own else None for name in classes]
        means = [_dice(spread.mean) if spread else ABSENT for spread in spreads]
        spread = block.spread()
        whole = "incomplete" if block.missing else "undefined"
        if spread is not None:
            whole = _dice(spread.mean) + (f" ± {100 * spread.std:.2f}" if spread.std is not None else "")
        rows.append((label, "all", *means, whole))
    return Grid(("protocol", "fold", *classes, "mean"), tuple(rows), None)


def protocols_notes(some: Sequence[ConfigurationResult]) -> list[str]:
    """Return what a reader of the table must know."""
    lines = ["Dice in percent, mean over query scans; rows of one model differ in the rules alone."]
    lines.append("all: mean ± standard deviation over folds (n-1), only where every fold and group is there")
    lines += [labels_text(some[0].record)] if labels_text(some[0].record) else []
    lines += [f"MARKED: {mark}" for mark in some[0].record.audits if mark in _shared_marks(some)]
    for block in some:
        lines += [f"{_protocol(block)}: {note}" for note in machine_notes(block.cells.values())]
        lines += [f"MARKED: {_protocol(block)}: {mark}" for mark in _own_marks(block, some)]
    return lines


def protocols_title(some: Sequence[ConfigurationResult]) -> str:
    """Return what the blocks share."""
    record = some[0].record
    names = ", ".join(dict.fromkeys(_protocol(block) for block in some))
    about = f"{record.method.name} on {record.dataset.name}, setting {record.setting}"
    return f"{about}, under {names}"


def _model(block: ConfigurationResult) -> dict[str, Any]:
    """Return what one model under several protocols shares."""
    own = ("protocol", "grid", "parts", "audits")
    return {key: value for key, value in configuration(block.record).items() if key not in own}


def _shared_marks(some: Sequence[ConfigurationResult]) -> set[str]:
    """Return the marks that every protocol's records carry: those of the one model, such as its recipe's."""
    return set.intersection(*(set(block.record.audits) for block in some))


def _own_marks(block: ConfigurationResult, some: Sequence[ConfigurationResult]) -> list[str]:
    shared = _shared_marks(some)
    return [mark for mark in block.record.audits if mark not in shared]


def _protocol(block: ConfigurationResult) -> str:
    return str(block.record.protocol.name)


def _dice(dice: float | None) -> str:
    return ABSENT if dice is None else f"{100 * dice:.2f}"
