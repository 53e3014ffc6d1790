"""The detail of a configuration and of a dataset: an article each, with the anchor of its permanent link."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from results.board_page.boards import PageBoard
from results.board_page.cards import class_grid, commands_of, dataset_card, fold_grid, method_card
from results.board_page.drawings import scans_svg
from results.board_page.elements import figure, link, plain_table, term_list
from results.leaderboard.board import MARKS, LeaderboardRow
from results.leaderboard.board_tables import (
    deviation,
    percent,
    published_grid,
    published_notes,
    ranked,
    scan_deviation,
    span,
)
from results.leaderboard.fold_sheet import fold_sheet
from results.leaderboard.html import Picture, escaped
from results.summary.frame import Means
from results.summary.seed_average import values_of
from results.tables.text_table import Grid

BACK = '<p><a href="#board">Back to the board</a></p>'


def configuration_detail(
    entry: PageBoard,
    name: str,
    line: LeaderboardRow,
    submitted: Mapping[str, str],
    pictures: Sequence[Picture],
) -> str:
    """Return the article of a configuration.

    Args:
        entry: its board.
        name: its short name.
        line: its line.
        submitted: the lines that people wrote on its method card; empty without a submission.
        pictures: of its best, median and worst scans; empty without saved predictions.
    """
    identity = line.row.configuration_id
    means = values_of(line.row, entry.board.measure).means
    title = f"{name} on {entry.title}"
    marks = "".join(
        f'<li><span class="marks">{escaped(mark)}</span> {escaped(MARKS[mark])}</li>' for mark in line.marks
    )
    parts = [
        BACK,
        f"<h2>{escaped(title)}</h2>",
        f"<p>Mean Dice {escaped(percent(line.mean))} %, interval {escaped(span(line.mean))}, rank "
        f"{escaped(ranked(line))} of {len(entry.board.lines)} on {link(entry.identity, entry.title)}. "
        f'Permanent link: <a href="#{identity}">#{identity}</a></p>',
        f"<ul>{marks}</ul>" if marks else "",
        "<h3>By class</h3>",
        _class_table(entry, line, means),
        "<h3>By fold</h3>",
        _fold_table(entry, identity),
        "<h3>By scan</h3>",
        _scan_table(line, means),
        *(["<h3>Best, median and worst scans</h3>"] if pictures else []),
        *(figure(picture) for picture in pictures),
        "<h3>Method card</h3>",
        term_list(method_card(line, submitted)),
        "<h3>Commands</h3>",
        f"<pre>{escaped(chr(10).join(commands_of(line)))}</pre>",
        BACK,
    ]
    return _article(identity, title, parts)


def dataset_detail(entry: PageBoard, facts: Mapping[str, str]) -> str:
    """Return the article of a board's dataset: its card, classes, folds, rows and published numbers."""
    rows = "".join(
        f"<li>{link(line.row.configuration_id, name)}: {escaped(percent(line.mean))}</li>"
        for name, line in entry.named_lines()
    )
    parts = [
        BACK,
        f"<h2>{escaped(entry.title)}</h2>",
        "<h3>Dataset card</h3>",
        term_list(dataset_card(entry, facts)),
        "<h3>Classes</h3>",
        plain_table("Slices and pixels are those that count, per scan", class_grid(entry)),
        "<h3>Folds</h3>",
        plain_table("Query scans, support scans and the hash of each plan", fold_grid(entry)),
        f"<h3>Configurations</h3><ol>{rows}</ol>",
    ]
    if entry.board.published:
        parts += ["<h3>Reported by papers</h3>", plain_table(PUBLISHED, published_grid(entry.board))]
        notes = "".join(f"<li>{escaped(note)}</li>" for note in published_notes(entry.board))
        parts.append(f"<details><summary>Sources and caveats</summary><ul>{notes}</ul></details>")
    return _article(entry.identity, entry.title, [*parts, BACK])


PUBLISHED = (
    "Dice in percent as papers print them; a difference is made only where protocol, setting, recipe and "
    "preparation agree"
)


def _article(identity: str, title: str, parts: Sequence[str]) -> str:
    inner = "\n".join(part for part in parts if part)
    return (
        f'<article id="{identity}" tabindex="-1" data-title="{escaped(title)}" '
        f'aria-label="{escaped(title)}">\n{inner}\n</article>'
    )


def _class_table(entry: PageBoard, line: LeaderboardRow, means: Means) -> str:
    rows, drawings = [], []
    for (kind, name), number in zip(entry.board.columns, line.numbers, strict=True):
        shown = name if kind == "class" else ("all classes" if kind == "all" else f"group {name}")
        rows.append((shown, percent(number), span(number), deviation(number), scan_deviation(number)))
        scans = means.scans.index.get_level_values("class") == name
        drawings.append(scans_svg(number, means.scans[scans] if kind == "class" else ()))
    grid = Grid(("class", "mean", "interval", "± folds", "± scans"), tuple(rows), None)
    caption = "Dice in percent; a dot is a scan, the bar the interval of the mean"
    return plain_table(caption, grid, drawings)


def _fold_table(entry: PageBoard, identity: str) -> str:
    grid = fold_sheet(entry.board).grid
    rows = tuple(row[1:-1] for row in grid.rows if row[-1] == f"#{identity}")
    return plain_table("Dice in percent of each fold", Grid(grid.header[1:-1], rows, None))


def _scan_table(line: LeaderboardRow, means: Means) -> str:
    """Return a row per fold and query scan, seeds and supports averaged; "-" for a missing cell."""
    columns = line.row.first.columns
    keys: list[tuple[int, str, str, str]] = means.scans.index.tolist()
    values = dict(zip(keys, means.scans.tolist(), strict=True))
    places = sorted({(key[0], key[3]) for key in values}, key=_place)
    rows = tuple(
        (scan, str(fold), *(_percent(values.get((fold, group, name, scan))) for group, name in columns))
        for fold, scan in places
    )
    header = ("scan", "fold", *(name for _group, name in columns))
    return plain_table("Dice in percent of each query scan", Grid(header, rows, None))


def _place(place: tuple[int, str]) -> tuple[int, int, str]:
    """Return the order of a scan: fold, then number, then name."""
    fold, scan = place
    return fold, int(scan) if scan.isdecimal() else 10**9, scan


def _percent(value: float | None) -> str:
    if value is None:
        return "-"
    return "undefined" if math.isnan(value) else f"{100 * value:.2f}"
