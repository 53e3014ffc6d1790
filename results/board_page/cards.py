"""Method cards and dataset cards: lines of (term, text) that records determine, and tables of a dataset."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from results.board_page.boards import PageBoard
from results.leaderboard.board import LeaderboardRow
from results.leaderboard.report import run_command
from results.records.record import Record
from results.summary.comparability import PREPARED_BY, reason_of_cells
from results.summary.notes import labels_text, training_text, weights_note
from results.tables.text_table import Grid

Terms = list[tuple[str, str]]


def method_card(line: LeaderboardRow, submitted: Mapping[str, str]) -> Terms:
    """Return the method card of a row: what people wrote in its submission, then the facts of its records."""
    record, cells = line.row.first.record, line.row.cells
    method, model = record.method, record.model
    written = [(name.replace("_", " "), text) for name, text in submitted.items()]
    facts = [
        ("method", method.name),
        ("version", f"{method.version}" if method.version else f"source {method.source}"),
        ("regime", method.regime),
        ("labels in training", labels_text(record) or "none"),
        ("model", training_text(record)),
        ("weights", weights_note(model).removeprefix("initial weights: ")),
        ("checkpoint", model.checkpoint),
        ("seeds", ", ".join(map(str, line.row.seeds))),
        ("query slices", "alone" if record.queries == "alone" else "all of a part at once"),
        ("options", _pairs(method.options)),
        ("recipe", _pairs(model.recipe or {})),
        ("training", _training(cells)),
        ("comparable with papers", _comparable(cells)),
        ("marks", "; ".join(dict.fromkeys(mark for cell in cells for mark in cell.audits)) or "none"),
        ("passed audits", "; ".join(_common_checks(cells)) or "none recorded"),
        ("undefined scores", f"{line.undefined} of {line.scores}"),
        ("program", _program(cells)),
        ("machine", _machine(cells)),
    ]
    return [*written, *((term, text) for term, text in facts if text)]


def commands_of(line: LeaderboardRow) -> tuple[str, ...]:
    """Return the command that computes a row, one per seed."""
    return tuple(run_command(line, seed) for seed in line.row.seeds)


def dataset_card(entry: PageBoard, facts: Mapping[str, str]) -> Terms:
    """Return the dataset card of a board: facts of its file, then those of the records.

    Args:
        entry: the board.
        facts: title, modality and sources of a shipped dataset; empty for another one.
    """
    record = entry.board.record
    cells = [cell for line in entry.board.lines for cell in line.row.cells]
    scans = {score.scan for cell in cells for score in cell.scores}
    by = sorted({PREPARED_BY[cell.dataset.prepared_by] for cell in cells})
    protocol = record.protocol
    groups = "; ".join(f"{name}: {', '.join(classes)}" for name, classes in record.grid.groups.items())
    return [
        *facts.items(),
        ("dataset", record.dataset.name),
        ("hash", record.dataset.hash),
        ("prepared by", ", ".join(by)),
        ("protocol", f"{protocol.name} version {protocol.version}, hash {protocol.hash[:16]}"),
        ("setting", SETTINGS[record.setting]),
        ("shots and parts", f"{record.shots} and {record.parts}"),
        ("folds", str(record.grid.folds)),
        ("groups", groups),
        ("query scans", str(len(scans))),
    ]


SETTINGS = {
    1: "1: training may see, without labels, slices that show tested classes",
    2: "2: training slices that show a tested class are left out",
}


def class_grid(entry: PageBoard) -> Grid:
    """Return a row per class: group, scans, undefined scans, scored slices, true pixels."""
    truth: dict[tuple[str, str], dict[str, int]] = {}
    slices: dict[tuple[str, str], dict[str, int]] = {}
    for line in entry.board.lines:
        for cell in line.row.cells:
            for score in cell.scores:
                key = cell.group, score.class_name
                truth.setdefault(key, {})[score.scan] = score.tp + score.fn
                slices.setdefault(key, {})[score.scan] = score.slices
    rows = []
    for (group, name), pixels in sorted(truth.items()):
        shown = [number for number in pixels.values() if number]
        counted = [number for number in slices[group, name].values() if number]
        rows.append(
            (name, group, str(len(pixels)), str(len(pixels) - len(shown)), _range(counted), _range(shown))
        )
    header = ("class", "group", "scans", "without the class", "scored slices", "true pixels")
    return Grid(header, tuple(rows), None)


def fold_grid(entry: PageBoard) -> Grid:
    """Return a row per fold and group: query scans, supports, plan hash."""
    cells: dict[tuple[int, str], Record] = {}
    for line in entry.board.lines:
        for cell in line.row.cells:
            cells.setdefault((cell.fold, cell.group), cell)
    rows = []
    for (fold, group), cell in sorted(cells.items()):
        scans = ", ".join(dict.fromkeys(score.scan for score in cell.scores))
        supports = "; ".join(dict.fromkeys(", ".join(score.supports) for score in cell.scores))
        rows.append((str(fold), group, scans, supports, cell.plan_hash))
    return Grid(("fold", "group", "query scans", "support scans", "plan"), tuple(rows), None)


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(values.items()))


def _training(cells: Sequence[Record]) -> str:
    if all(cell.model.recipe is None for cell in cells):
        return ""
    scans = _range([len(cell.training.scans) for cell in cells])
    slices = _range([cell.training.slices for cell in cells])
    return f"{scans} scans, {slices} slices, {_range([c.training.slices_excluded for c in cells])} left out"


def _comparable(cells: Sequence[Record]) -> str:
    reason = reason_of_cells(cells)
    return "yes" if reason is None else f"no: {reason}"


def _common_checks(cells: Sequence[Record]) -> list[str]:
    """Return the audits that every cell has passed."""
    return [name for name in cells[0].checks if all(name in cell.checks for cell in cells)]


def _program(cells: Iterable[Record]) -> str:
    names = dict.fromkeys(
        f"fewshot {cell.environment.fewshot}, commit {(cell.environment.commit or 'not known')[:12]}"
        + (" with changed files" if cell.environment.dirty else "")
        for cell in cells
    )
    return "; ".join(names)


def _machine(cells: Iterable[Record]) -> str:
    names = dict.fromkeys(
        f"{cell.environment.device}, {cell.environment.processor or 'processor not known'}, torch "
        f"{cell.environment.torch}"
        for cell in cells
    )
    return "; ".join(names)


def _range(numbers: Sequence[int]) -> str:
    """Return the only number, or smallest, median and largest."""
    if not numbers:
        return "-"
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}, median {statistics.median(numbers):g}"
