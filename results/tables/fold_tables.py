"""Dice tables per fold as text, markdown or CSV, a pure function of records; Dice in percent."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fewshot.base.errors import unknown_name
from results.records.configuration import question
from results.records.record import Record
from results.summary.comparability import prepared_by
from results.summary.configuration_result import ConfigurationResult, configuration_results
from results.summary.frame import Spread
from results.summary.notes import distinct_labels, heading, notes, partial_notes, row_label, subheading
from results.summary.support_sensitivity import (
    COLUMNS,
    over_folds,
    several_supports,
    spread_of_supports,
    worst_support,
)
from results.tables.cross_protocol import across_protocols, protocols_notes, protocols_table, protocols_title
from results.tables.scan_sheet import scan_sheet
from results.tables.spreadsheet import SheetWriter
from results.tables.table_formats import FORMATS
from results.tables.text_table import Grid

UNDEFINED = "undefined"
MISSING = "missing"
INCOMPLETE = "incomplete"
MEASURES = (worst_support, spread_of_supports)  # in the order of COLUMNS


def render(records: Iterable[Record], format: str = "text", names: Mapping[str, str] | None = None) -> str:
    """Return one fold table per configuration, a comparison per question, and a table across protocols.

    Args:
        records: records of any question; without any, text, markdown and LaTeX are "no records".
        format: "text", "md", "tex", "csv" (one line per number) or "scans" (CSV with one line per score).
        names: a method -> the name that headings and labels show.
    """
    if format not in (*FORMATS, *SHEETS):
        raise unknown_name("table format", format, (*FORMATS, *SHEETS))
    results = configuration_results(records)
    if format in SHEETS:
        return SHEETS[format](results, names or {})
    if not results:
        return "no records"
    layout = FORMATS[format]
    parts = [
        layout(
            _renamed(heading(result), result, names), subheading(result), fold_table(result), notes(result)
        )
        for result in results
    ]
    parts += _comparisons(results, layout, names)
    for group in across_protocols(results):
        title, lines = protocols_title(group), protocols_notes(group)
        parts.append(layout(title, subheading(group[0]), protocols_table(group), lines))
    return "\n\n".join(parts)


def render_comparison(records: Iterable[Record]) -> str:
    """Return as text one table per question with several configurations, one row per configuration."""
    return "\n\n".join(_comparisons(configuration_results(records), FORMATS["text"]))


def _renamed(text: str, result: ConfigurationResult, names: Mapping[str, str] | None) -> str:
    """Return a text that begins with the method, with the method's other name."""
    method = result.record.method.name
    return (names or {}).get(method, method) + text.removeprefix(method)


def _comparisons(
    results: Sequence[ConfigurationResult], layout: Callable[..., str], names: Mapping[str, str] | None = None
) -> list[str]:
    parts = []
    for group in _by_question(results):
        if len(group) > 1:
            first = group[0].record
            title = f"comparison on {first.dataset.name}, setting {first.setting}, " + _protocol(first)
            grid = summary_table(group)
            rows = tuple(
                (_renamed(row[0], result, names), *row[1:])
                for row, result in zip(grid.rows, group, strict=True)
            )
            parts.append(layout(title, "", replace(grid, rows=rows), _summary_notes(group)))
    return parts


def fold_table(result: ConfigurationResult) -> Grid:
    """Return one row per fold and a last row with mean ± deviation; one column per class, group and mean."""
    header = ["fold", *(name for _group, name in result.columns)]
    several = len(result.groups) > 1
    has_supports = several_supports(result)
    header += [
        *(result.groups if several else ()),
        "mean",
        *(COLUMNS if has_supports else ()),
        "excluded",
        "skipped",
    ]
    rows = []
    for fold in result.folds:
        row = [str(fold)]
        row += [_cell(result, fold, column[0], result.class_dice(fold, column)) for column in result.columns]
        if several:
            row += [_cell(result, fold, group, result.group_dice(fold, group)) for group in result.groups]
        complete = all((fold, group) in result.cells for group in result.groups)
        row += [_dice(result.fold_dice(fold)) if complete else INCOMPLETE]
        row += [
            _dice(measure(result, fold)) if complete else INCOMPLETE for measure in MEASURES if has_supports
        ]
        row += [_per_group(result, fold, lambda cell: cell.training.slices_excluded)]
        row += [_per_group(result, fold, lambda record: record.model.skipped_episodes)]
        rows.append(row)
    last = ["mean ± std", *_spreads(result, several), _spread(result, result.groups, result.spread())]
    last += [*(_sensitivity(result) if has_supports else ()), "", ""]
    return Grid(tuple(header), tuple(map(tuple, rows)), tuple(last))


def summary_table(results: Sequence[ConfigurationResult]) -> Grid:
    """Return one row per result of one question: class, group and overall means with deviation over folds."""
    first = results[0]
    several = len(first.groups) > 1
    header = ["method", *(name for _group, name in first.columns), *(first.groups if several else ())]
    has_supports = any(several_supports(result) for result in results)
    header += ["mean ± std", *(COLUMNS if has_supports else ()), "cells"]
    rows = []
    for result, label in zip(results, _labels(results), strict=True):
        cells = f"{len(result.cells)}/{len(result.folds) * len(result.groups)}"
        means = [text.split(" ")[0] for text in _spreads(result, several)]
        whole = _spread(result, result.groups, result.spread())
        rows.append((label, *means, whole, *(_sensitivity(result) if has_supports else ()), cells))
    return Grid(tuple(header), tuple(rows), None)


def _sensitivity(result: ConfigurationResult) -> list[str]:
    """Return worst support and spread of supports, each as a mean over folds."""
    values = [over_folds(result, measure) for measure in MEASURES]
    return [INCOMPLETE if result.missing else _dice(value) for value in values]


def _labels(results: Sequence[ConfigurationResult]) -> list[str]:
    """Return one label per result; equal labels get the options that differ, or the configuration id."""
    options = [result.record.method.options for result in results]
    identities = [result.configuration_id for result in results]
    return distinct_labels([row_label(result) for result in results], options, identities)


def _spreads(result: ConfigurationResult, several: bool) -> list[str]:
    texts = [_spread(result, (column[0],), result.class_spread(column)) for column in result.columns]
    if several:
        texts += [_spread(result, (group,), result.group_spread(group)) for group in result.groups]
    return texts


def _spread(result: ConfigurationResult, groups: Sequence[str], spread: Spread | None) -> str:
    if any(group in groups for _fold, group in result.missing):
        return INCOMPLETE
    if spread is None:
        return UNDEFINED
    return _dice(spread.mean) + (f" ± {100 * spread.std:.2f}" if spread.std is not None else "")


def _cell(result: ConfigurationResult, fold: int, group: str, dice: float | None) -> str:
    return _dice(dice) if (fold, group) in result.cells else MISSING


def _dice(dice: float | None) -> str:
    return UNDEFINED if dice is None else f"{100 * dice:.2f}"


def _per_group(result: ConfigurationResult, fold: int, number: Callable[[Record], int | None]) -> str:
    """Return a number of the cells of a fold: once if all groups agree, else one per group with slashes."""
    texts = [
        str(number(result.cells[fold, group])) if (fold, group) in result.cells else "?"
        for group in result.groups
    ]
    shown = texts if len(set(texts)) > 1 else texts[:1]
    return "/".join("-" if text == "None" else text for text in shown)


def _by_question(results: Iterable[ConfigurationResult]) -> list[list[ConfigurationResult]]:
    groups: list[list[ConfigurationResult]] = []
    for result in results:
        if groups and question(groups[-1][0].record) == question(result.record):
            groups[-1].append(result)
        else:
            groups.append([result])
    return groups


def _summary_notes(results: Sequence[ConfigurationResult]) -> list[str]:
    lines = ["Dice in percent, mean over folds; ± is the standard deviation over folds (n-1)."]
    if any(result.missing for result in results):
        lines.append("incomplete: cells are missing, see the table above")
    for result, label in zip(results, _labels(results), strict=True):
        lines += [f"{label}: {line}" for line in partial_notes(result)]
    return lines


def _protocol(record: Record) -> str:
    return f"{record.protocol.name} version {record.protocol.version}"


def _csv(results: Sequence[ConfigurationResult], names: Mapping[str, str]) -> str:
    """Return one line per number: configuration, fold (or mean, std), kind and name of column, percent."""
    stream = io.StringIO()
    writer = SheetWriter(stream)
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
    for result in results:
        record = result.record
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
        head += [
            names.get(record.method.name, record.method.name),
            model.encoder,
            weights,
            model.steps,
            model.seed,
        ]
        head += [model.checkpoint, result.configuration_id, record.method.labels_used, prepared_by(record)]
        for row in _csv_rows(result):
            writer.writerow([*head, *row])
    return stream.getvalue().rstrip("\n")


def _csv_rows(result: ConfigurationResult) -> Iterable[list[Any]]:
    for fold in result.folds:
        for group, name in result.columns:
            yield _number(result, fold, (group,), "class", name, result.class_dice(fold, (group, name)))
        for group in result.groups:
            yield _number(result, fold, (group,), "group", group, result.group_dice(fold, group))
        yield _number(result, fold, result.groups, "all", "mean", result.fold_dice(fold))
    columns = [(column[0:1], "class", column[1], result.class_spread(column)) for column in result.columns]
    columns += [((group,), "group", group, result.group_spread(group)) for group in result.groups]
    for fold in result.folds if several_supports(result) else ():
        for name, measure in zip(COLUMNS, MEASURES, strict=True):
            yield _number(result, fold, result.groups, "supports", name, measure(result, fold))
    for name, measure in zip(COLUMNS, MEASURES, strict=True) if several_supports(result) else ():
        dice = over_folds(result, measure)
        state = INCOMPLETE if result.missing else ""
        yield ["mean", "supports", name, "" if dice is None else 100 * dice, state]
    whole = (result.groups, "all", "mean", result.spread())
    for groups, kind, name, spread in [*columns, whole]:
        state = INCOMPLETE if any(g in groups for _fold, g in result.missing) else "" if spread else UNDEFINED
        yield ["mean", kind, name, 100 * spread.mean if spread else "", state]
        yield ["std", kind, name, 100 * spread.std if spread and spread.std is not None else "", state]


def _number(
    result: ConfigurationResult, fold: int, groups: Sequence[str], kind: str, name: str, dice: float | None
) -> list[Any]:
    state = MISSING if any((fold, group) not in result.cells for group in groups) else ""
    if not state and dice is None:
        state = UNDEFINED
    return [fold, kind, name, "" if dice is None else 100 * dice, state]


SHEETS: dict[str, Callable[[Sequence[ConfigurationResult], Mapping[str, str]], str]] = {
    "csv": _csv, "scans": scan_sheet,
}  # fmt: skip
