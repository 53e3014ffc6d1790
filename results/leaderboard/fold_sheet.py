"""The table of folds of a board for a report: a row per method and fold, with classes, mean and support."""

from __future__ import annotations

from collections.abc import Sequence

from results.leaderboard.board import INCOMPLETE, UNDEFINED, Board, LeaderboardRow
from results.leaderboard.html import Sheet
from results.metrics.measures import MEASURES
from results.summary.seed_average import SeedAverage, values_of
from results.tables.text_table import Grid

MOST_SUPPORTS = 3  # named in a cell; more are counted


def fold_sheet(board: Board) -> Sheet:
    """Return the values of every method and fold in percent; seeds are averaged per scan first."""
    names = short_names([line.row for line in board.lines])
    rows = [row for line, name in zip(board.lines, names, strict=True) for row in _rows(board, line, name)]
    columns = tuple(name for _kind, name in board.columns)
    notes = (
        f"{MEASURES[board.measure]} in percent of each fold; the board's numbers are means over these rows",
        "scans of a fold share the trained model, and the support unless the protocol uses several, so folds "
        "differ by more than their scans",
    )
    header = ("method", "fold", *columns, "scans", "supports", "configuration")
    return Sheet("By fold", Grid(header, tuple(rows), None), notes)


def short_names(rows: Sequence[SeedAverage]) -> list[str]:
    """Return a short, distinct name per row: the method; a repeated one with its configuration id."""
    methods = [row.method for row in rows]
    return [
        row.method if methods.count(row.method) == 1 else f"{row.method} #{row.configuration_id}"
        for row in rows
    ]


def _rows(board: Board, line: LeaderboardRow, name: str) -> list[tuple[str, ...]]:
    """Return one row per fold of a method; a number that needs a missing cell is `INCOMPLETE`."""
    first = line.row.first
    means = values_of(line.row, board.measure).means
    gone = set(line.row.missing)
    made = []
    for fold in first.folds:
        texts = []
        for place, (kind, column) in enumerate(board.columns):
            if kind == "all":
                value, needs = means.of_all([fold])[0], first.groups
            elif kind == "group":
                value, needs = means.of_group([fold], column)[0], (column,)
            else:
                group = first.columns[place][0]
                value, needs = means.of_class([fold], group, column)[0], (group,)
            texts.append(_text(value, is_missing=any((fold, group) in gone for group in needs)))
        cells = [record for record in line.row.cells if record.fold == fold]
        scans = dict.fromkeys(score.scan for record in cells for score in record.scores)
        sets = dict.fromkeys("+".join(score.supports) for record in cells for score in record.scores)
        supports = ", ".join(sets) if len(sets) <= MOST_SUPPORTS else f"{len(sets)} in turn"
        made.append(
            (name, str(fold), *texts, str(len(scans)), supports or "-", f"#{line.row.configuration_id}")
        )
    return made


def _text(value: float, *, is_missing: bool) -> str:
    if is_missing:
        return INCOMPLETE
    return UNDEFINED if value != value else f"{100 * value:.2f}"
