"""A board in the layout of a paper: short labels, mean ± deviation in every cell, the best in bold.

What all trained rows share stands in the caption, so a label holds only what tells rows apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fewshot.base.errors import unknown_name
from results.leaderboard.board import MARKS, Board, LeaderboardRow, Number
from results.leaderboard.board_tables import percent
from results.metrics.measures import MEASURES
from results.records.configuration import LEAST_DIGITS
from results.summary.notes import distinct_labels
from results.tables.text_table import Grid

Facts = dict[str, str]


def with_names(board: Board, names: Mapping[str, str]) -> Board:
    """Return the board with other names of methods in all labels.

    Args:
        board: the board.
        names: a method's name, or an id (4 digits or more, with or without "#") -> the name to show.

    Raises:
        UserError: no row has that method or id.
    """
    for old in names:
        if not any(_is_named(line, old) for line in board.lines):
            known = [name for line in board.lines for name in (line.row.method, _id(line))]
            raise unknown_name("method or id of the board", old, known)
    named = replace(board, names=dict(names))
    lines = tuple(
        replace(line, label=shown_name(named, line) + line.label.removeprefix(line.row.method))
        for line in board.lines
    )
    return replace(named, lines=lines)


def shown_name(board: Board, line: LeaderboardRow) -> str:
    """Return the name of a row's method: that of its id, else that of its method, else the method."""
    for old, new in board.names.items():
        if old != line.row.method and _is_named(line, old):
            return new
    return board.names.get(line.row.method, line.row.method)


def paper_grid(board: Board) -> Grid:
    """Return one row per configuration: short label, marks, and mean ± deviation over folds per column.

    The highest mean of each column is bold; only rows with a mean count.
    """
    labels = _labels(board)
    rows = tuple(
        (label, line.marks, *(_cell(number) for number in line.numbers))
        for label, line in zip(labels, board.lines, strict=True)
    )
    best = set()
    for place in range(len(board.columns)):
        means = [line.numbers[place].mean for line in board.lines]
        known = [round(mean, 4) for mean in means if mean is not None]
        best |= {
            (number, place + 2)
            for number, mean in enumerate(means)
            if mean is not None and len(known) > 1 and round(mean, 4) == max(known)
        }
    header = ("method", "marks", *(name for _kind, name in board.columns))
    return Grid(header, rows, None, frozenset(best))


def paper_caption(board: Board) -> str:
    """Return the end of the caption: unit, what all trained rows share, meaning of bold and marks."""
    used = "".join(line.marks for line in board.lines)
    common = ", ".join(text for text in _common(board).values() if text)
    texts = [
        f"{MEASURES[board.measure]} in percent, mean ± standard deviation over folds",
        *([f"all trained rows: {common}"] if common else []),
        "bold: the highest mean of a column, which claims no significance",
        *(f"{mark}: {text}" for mark, text in MARKS.items() if mark in used),
    ]
    return "; ".join(texts)


def _labels(board: Board) -> list[str]:
    """Return one short label per row; equal ones get the options that differ, or the configuration id."""
    common = _common(board)
    labels = []
    for line in board.lines:
        own = [text for key, text in _facts(line).items() if text and key not in common]
        name = shown_name(board, line)
        labels.append(f"{name} ({', '.join(own)})" if own else name)
    options = [line.row.first.record.method.options for line in board.lines]
    return distinct_labels(labels, options, [_id(line) for line in board.lines])


def _common(board: Board) -> Facts:
    """Return the facts that all trained rows share."""
    every = [facts for line in board.lines if (facts := _facts(line))]
    if not every:
        return {}
    return {key: value for key, value in every[0].items() if all(f.get(key) == value for f in every)}


def _facts(line: LeaderboardRow) -> Facts:
    """Return what tells trained rows apart, in words; "" for a default, {} without an encoder."""
    record = line.row.first.record
    model = record.model
    if model.encoder is None:
        return {}
    weights = model.initial_weights
    seeds = len(line.row.seeds)
    return {
        "encoder": model.encoder,
        "weights": f"{weights.name if weights else 'given'} weights",
        "steps": "steps not known" if model.steps is None else f"{model.steps} steps",
        "checkpoint": "" if model.checkpoint == "last" else f"{model.checkpoint} checkpoint",
        "seeds": f"{seeds} seed{'s' * (seeds > 1)}",
        "precision": "" if model.precision in (None, "float32") else f"trained in {model.precision}",
        "dataset": "" if record.train_dataset is None else f"trained on {record.train_dataset.name}",
    }


def _cell(number: Number) -> str:
    if number.mean is None or number.std is None:
        return percent(number)
    return f"{percent(number)} ± {100 * number.std:.2f}"


def _id(line: LeaderboardRow) -> str:
    return line.row.configuration_id


def _is_named(line: LeaderboardRow, text: str) -> bool:
    digits = text.removeprefix("#")
    return text == line.row.method or (len(digits) >= LEAST_DIGITS and _id(line).startswith(digits))
