"""Dice tables as text, markdown or CSV: a pure function of records. Percent here and only here."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fewshot.base.errors import unknown_name
from results.records.configuration import question
from results.records.record import Record
from results.summary.comparability import prepared_by
from results.summary.configuration_result import ConfigurationResult, configuration_results
from results.summary.frame import Spread
from results.summary.notes import heading, notes, row_label, subheading
from results.summary.support_sensitivity import (
    COLUMNS,
    over_folds,
    several_supports,
    spread_of_supports,
    worst_support,
)
from results.tables.cross_protocol import across_protocols, protocols_notes, protocols_table, protocols_title
from results.tables.text_table import FORMATS, Grid

UNDEFINED = "undefined"
MISSING = "missing"
INCOMPLETE = "incomplete"
MEASURES = (worst_support, spread_of_supports)  # of the columns of supports in turn


def render(records: Iterable[Record], format: str = "text") -> str:
    """Return every fold table of the records and, where several share their questions, their comparison.

    `format`: "text", "md" or "csv" (one line per number). Without records the text says so.
    """
    if format not in (*FORMATS, "csv"):
        raise unknown_name("table format", format, (*FORMATS, "csv"))
    found = configuration_results(records)
    if format == "csv":
        return _csv(found)
    if not found:
        return "no records"
    layout = FORMATS[format]
    parts = [layout(heading(block), subheading(block), fold_table(block), notes(block)) for block in found]
    parts += _comparisons(found, layout)
    for some in across_protocols(found):
        title, lines = protocols_title(some), protocols_notes(some)
        parts.append(layout(title, subheading(some[0]), protocols_table(some), lines))
    return "\n\n".join(parts)


def render_comparison(records: Iterable[Record]) -> str:
    """Return as text, for every question that several configurations answered, one row per configuration."""
    return "\n\n".join(_comparisons(configuration_results(records), FORMATS["text"]))


def _comparisons(found: Sequence[ConfigurationResult], layout: Callable[..., str]) -> list[str]:
    parts = []
    for some in _by_question(found):
        if len(some) > 1:
            first = some[0].record
            title = f"comparison on {first.dataset.name}, setting {first.setting}, " + _protocol(first)
            parts.append(layout(title, "", summary_table(some), _summary_notes(some)))
    return parts


def fold_table(block: ConfigurationResult) -> Grid:
    """Return one row per fold, one column per class, group and their mean; last row mean +- deviation."""
    header = ["fold", *(name for _group, name in block.columns)]
    several = len(block.groups) > 1
    turns = several_supports(block)
    header += [*(block.groups if several else ()), "mean", *(COLUMNS if turns else ()), "excluded", "skipped"]
    rows = []
    for fold in block.folds:
        row = [str(fold)]
        row += [_cell(block, fold, column[0], block.class_dice(fold, column)) for column in block.columns]
        if several:
            row += [_cell(block, fold, group, block.group_dice(fold, group)) for group in block.groups]
        whole = all((fold, group) in block.cells for group in block.groups)
        row += [_dice(block.fold_dice(fold)) if whole else INCOMPLETE]
        row += [_dice(measure(block, fold)) if whole else INCOMPLETE for measure in MEASURES if turns]
        row += [_per_group(block, fold, lambda cell: cell.training.slices_excluded)]
        row += [_per_group(block, fold, lambda record: record.model.skipped_episodes)]
        rows.append(row)
    last = ["mean ± std", *_spreads(block, several), _spread(block, block.groups, block.spread())]
    last += [*(_sensitivity(block) if turns else ()), "", ""]
    return Grid(tuple(header), tuple(map(tuple, rows)), tuple(last))


def summary_table(some: Sequence[ConfigurationResult]) -> Grid:
    """Return one row per block of one question: class, group and overall means with deviation over folds."""
    first = some[0]
    several = len(first.groups) > 1
    header = ["method", *(name for _group, name in first.columns), *(first.groups if several else ())]
    turns = any(several_supports(block) for block in some)
    header += ["mean ± std", *(COLUMNS if turns else ()), "cells"]
    rows = []
    for block, label in zip(some, _labels(some), strict=True):
        cells = f"{len(block.cells)}/{len(block.folds) * len(block.groups)}"
        means = [text.split(" ")[0] for text in _spreads(block, several)]
        whole = _spread(block, block.groups, block.spread())
        rows.append((label, *means, whole, *(_sensitivity(block) if turns else ()), cells))
    return Grid(tuple(header), tuple(rows), None)


def _sensitivity(block: ConfigurationResult) -> list[str]:
    """Return worst support and spread over supports, mean over folds."""
    found = [over_folds(block, measure) for measure in MEASURES]
    return [INCOMPLETE if block.missing else _dice(value) for value in found]


def _labels(some: Sequence[ConfigurationResult]) -> list[str]:
    """Return a label per block; those that come out alike get their options' and source's short hash."""
    labels = [row_label(block) for block in some]
    return [
        label if labels.count(label) == 1 else f"{label} #{block.configuration_id}"
        for block, label in zip(some, labels, strict=True)
    ]


def _spreads(block: ConfigurationResult, several: bool) -> list[str]:
    texts = [_spread(block, (column[0],), block.class_spread(column)) for column in block.columns]
    if several:
        texts += [_spread(block, (group,), block.group_spread(group)) for group in block.groups]
    return texts


def _spread(block: ConfigurationResult, groups: Sequence[str], spread: Spread | None) -> str:
    if any(group in groups for _fold, group in block.missing):
        return INCOMPLETE
    if spread is None:
        return UNDEFINED
    return _dice(spread.mean) + (f" ± {100 * spread.std:.2f}" if spread.std is not None else "")


def _cell(block: ConfigurationResult, fold: int, group: str, dice: float | None) -> str:
    return _dice(dice) if (fold, group) in block.cells else MISSING


def _dice(dice: float | None) -> str:
    return UNDEFINED if dice is None else f"{100 * dice:.2f}"


def _per_group(block: ConfigurationResult, fold: int, number: Callable[[Record], int | None]) -> str:
    """Return a number of a fold's cells: once if all groups agree, else in the groups' order with slashes."""
    found = [
        str(number(block.cells[fold, group])) if (fold, group) in block.cells else "?"
        for group in block.groups
    ]
    shown = found if len(set(found)) > 1 else found[:1]
    return "/".join("-" if text == "None" else text for text in shown)


def _by_question(found: Iterable[ConfigurationResult]) -> list[list[ConfigurationResult]]:
    groups: list[list[ConfigurationResult]] = []
    for block in found:
        if groups and question(groups[-1][0].record) == question(block.record):
            groups[-1].append(block)
        else:
            groups.append([block])
    return groups


def _summary_notes(some: Sequence[ConfigurationResult]) -> list[str]:
    lines = ["Dice in percent, mean over folds; ± is the standard deviation over folds (n-1)."]
    if any(block.missing for block in some):
        lines.append("incomplete: cells are missing, see the table above; no mean is made of the rest")
    return lines


def _protocol(record: Record) -> str:
    return f"{record.protocol.name} version {record.protocol.version}"


def _csv(found: Sequence[ConfigurationResult]) -> str:
    """Return one line per number: configuration, fold (or mean, std), kind and name of column, percent."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    keys = [
        "protocol",
        "version",
        "dataset",
        "dataset_hash",
        "setting",
        "shots",
        "parts",
        "method",
        "encoder",
    ]
    keys += ["weights", "steps", "seed", "checkpoint", "configuration", "labels_used", "prepared_by"]
    writer.writerow([*keys, "row", "kind", "column", "dice_percent", "state"])
    for block in found:
        record = block.record
        model = record.model
        weights = None if model.initial_weights is None else model.initial_weights.name
        if model.name is not None:
            weights = f"{weights} {model.name}"
        head: list[Any] = [
            record.protocol.name,
            record.protocol.version,
            record.dataset.name,
        ]
        head += [record.dataset.hash, record.setting, record.shots, record.parts]
        head += [record.method.name, model.encoder, weights, model.steps, model.seed]
        head += [model.checkpoint, block.configuration_id, record.method.labels_used, prepared_by(record)]
        for row in _csv_rows(block):
            writer.writerow([*head, *row])
    return stream.getvalue().rstrip("\n")


def _csv_rows(block: ConfigurationResult) -> Iterable[list[Any]]:
    for fold in block.folds:
        for group, name in block.columns:
            yield _number(block, fold, (group,), "class", name, block.class_dice(fold, (group, name)))
        for group in block.groups:
            yield _number(block, fold, (group,), "group", group, block.group_dice(fold, group))
        yield _number(block, fold, block.groups, "all", "mean", block.fold_dice(fold))
    columns = [(column[0:1], "class", column[1], block.class_spread(column)) for column in block.columns]
    columns += [((group,), "group", group, block.group_spread(group)) for group in block.groups]
    for fold in block.folds if several_supports(block) else ():
        for name, measure in zip(COLUMNS, MEASURES, strict=True):
            yield _number(block, fold, block.groups, "supports", name, measure(block, fold))
    for name, measure in zip(COLUMNS, MEASURES, strict=True) if several_supports(block) else ():
        dice = over_folds(block, measure)
        state = INCOMPLETE if block.missing else ""
        yield ["mean", "supports", name, "" if dice is None else 100 * dice, state]
    whole = (block.groups, "all", "mean", block.spread())
    for groups, kind, name, spread in [*columns, whole]:
        state = INCOMPLETE if any(g in groups for _fold, g in block.missing) else "" if spread else UNDEFINED
        yield ["mean", kind, name, 100 * spread.mean if spread else "", state]
        yield ["std", kind, name, 100 * spread.std if spread and spread.std is not None else "", state]


def _number(
    block: ConfigurationResult, fold: int, groups: Sequence[str], kind: str, name: str, dice: float | None
) -> list[Any]:
    state = MISSING if any((fold, group) not in block.cells for group in groups) else ""
    if not state and dice is None:
        state = UNDEFINED
    return [fold, kind, name, "" if dice is None else 100 * dice, state]
