"""Figures of a board from records alone: Dice by class and method, and Dice against the size of the organ.

Position, marker and lightness distinguish the methods, so the figures work in grey print and for colour-blind
readers. Each figure becomes an SVG and a PNG file; equal inputs give equal files.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from fewshot.base.errors import UserError
from fewshot.files.atomic_io import atomic_write
from results.leaderboard.board import Board, LeaderboardRow
from results.metrics.measures import MEASURES
from results.records.record import Record
from results.summary.arrays import Floats
from results.summary.fold_scans import FoldScans, fold_scans
from results.summary.seed_average import values_of

# Okabe and Ito's colours from dark to light, each with its own marker and stroke
COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STROKES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 3)), (0, (7, 3)))
MOST = len(COLOURS)
DPI = 130

# ending of a file -> metadata without date and version, so that equal figures are equal files
UNDATED: dict[str, dict[str, None]] = {
    ".svg": {"Date": None},
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@contextmanager
def style() -> Iterator[None]:
    """Set the fonts, and the options that make SVG files reproducible byte for byte."""
    settings: Any = {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "axes.titley": 1.0,  # nothing stands between panel and title, so matplotlib need not look for it
        "svg.hashsalt": "fewshot",
        "svg.fonttype": "path",
    }
    with matplotlib.rc_context(settings):
        yield


def wrapped(text: str, width: int = 44) -> str:
    """Return a text in lines of at most `width` characters, so that a long label leaves room for the data."""
    return "\n".join(textwrap.wrap(text, width)) or text


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.svg, `stem`.png and `stem`.pdf; return all three.

    The places of panels and texts are computed once, because they take as long as drawing. So all three files
    show the same ones.
    """
    figure.set_dpi(DPI)
    figure.draw_without_rendering()
    figure.set_layout_engine(None)
    paths = [stem.with_name(f"{stem.name}{suffix}") for suffix in UNDATED]
    for path in paths:
        empty = UNDATED[path.suffix]
        with atomic_write(path, "wb") as stream:
            figure.savefig(stream, format=path.suffix[1:], metadata=empty, dpi=DPI)
    return paths


def draw_by_class(board: Board, stem: Path) -> list[Path]:
    """Draw one panel per class and one for the mean, with one line per method; return the files.

    A point is a scan (seeds averaged), a thick bar the mean over folds, a thin line its interval. A
    class that is incomplete in every row has no panel. Raises `UserError` if no row has a number.
    """
    lines = with_numbers(board)
    classes = [
        (n, name)
        for n, (kind, name) in enumerate(board.columns)
        if kind != "group" and any(line.numbers[n].mean is not None for line in lines)
    ]
    with style():
        height = 0.42 * len(lines) + 1.6
        figure = Figure(figsize=(3.6 + 2.0 * len(classes), height), layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, len(classes), sharey=True))
        for axis, (column, name) in zip(axes, classes, strict=True):
            for place, line in enumerate(lines):
                points = _points(line, column, board.measure)
                spread = 0.26 * _spread(len(points))
                axis.scatter(100 * points, place + spread, s=11, color="#7a8793", alpha=0.6, linewidths=0)
                number = line.numbers[column]
                if number.mean is None:
                    axis.text(50, place, number.state, ha="center", va="center", fontsize=8, style="italic")
                    continue
                mean = 100 * number.mean
                if number.interval is not None:
                    low, high = number.interval.low, number.interval.high
                    axis.plot([100 * low, 100 * high], [place, place], color="#000000", linewidth=1.4)
                axis.plot([mean, mean], [place - 0.33, place + 0.33], color="#000000", linewidth=2.6)
                axis.annotate(f"{mean:.1f}", (mean, place - 0.33), ha="center", va="bottom", fontsize=7.5)
            axis.set_title(name, fontsize=10)
            axis.set_xlim(-4, 104)  # room for the marks and labels of values near the ends
            axis.set_xticks([0, 50, 100])
            axis.grid(axis="x", color="#dddddd", linewidth=0.6)
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
        axes[0].set_yticks(range(len(lines)), [wrapped(line.label) for line in lines])
        axes[0].set_ylim(len(lines) - 0.4, -0.7)
        figure.supxlabel(f"{MEASURES[board.measure]} in percent", fontsize=9)
        figure.suptitle(board.title, fontsize=10.5)
        return save(figure, stem)


def draw_by_size(board: Board, stem: Path) -> list[Path]:
    """Draw Dice against the size of the organ for each class and the best eight methods; return the files.

    The size is the number of true pixels in the scored slices, on a logarithmic axis. A class without a
    defined value, such as one of a group without records, has no panel. Raises `UserError` if no row has a
    number.
    """
    lines = with_numbers(board)[:MOST]
    classes = [
        (n, name)
        for n, (kind, name) in enumerate(board.columns)
        if kind == "class" and any(len(_sizes(line, n, board.measure)[0]) for line in lines)
    ]
    if not classes:
        raise UserError("no class of the board has a defined value; there is nothing to draw")
    with style():
        figure = Figure(figsize=(1.2 + 3.0 * len(classes), 4.2), layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, len(classes), sharey=True))
        for axis, (column, name) in zip(axes, classes, strict=True):
            for number, line in enumerate(lines):
                sizes, values = _sizes(line, column, board.measure)
                axis.scatter(
                    sizes, 100 * values, s=24, marker=MARKERS[number], facecolors="none", linewidths=1.0,
                    edgecolors=COLOURS[number], label=line.label if axis is axes[0] else None,
                )  # fmt: skip
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:,.0f}"))
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.set_xlabel("pixels of the organ, scored slices", fontsize=8)
            axis.set_title(name, fontsize=10)
            axis.set_ylim(0, 100)
            axis.grid(color="#e2e2e2", linewidth=0.6, which="both")
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
        axes[0].set_ylabel(f"{MEASURES[board.measure]} in percent")
        figure.suptitle(board.title, fontsize=10.5)
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
        return save(figure, stem)


def with_numbers(board: Board) -> list[LeaderboardRow]:
    """Return the rows that have a number in some column; raise `UserError` if no row has one."""
    lines = [line for line in board.lines if any(number.mean is not None for number in line.numbers)]
    if not lines:
        raise UserError("no row of the board has a number; there is nothing to draw")
    return lines


def _points(line: LeaderboardRow, column: int, measure: str) -> Floats:
    """Return the defined values of all scans in a column; the last one is each scan's mean over classes."""
    every = np.concatenate([fold.values for fold in board_scans(line, measure)])
    points: Floats = every[:, column] if column < every.shape[1] else every.mean(axis=1)
    return points[~np.isnan(points)]


def board_scans(line: LeaderboardRow, measure: str) -> list[FoldScans]:
    """Return the values of a row's scans in each fold, seeds averaged: `fold_scans`."""
    result = line.row.first
    return fold_scans(values_of(line.row, measure).means.scans, result.folds, result.columns)


def _sizes(line: LeaderboardRow, column: int, measure: str) -> tuple[Floats, Floats]:
    """Return (true pixels, value) of every scan for which both are known."""
    group, name = line.row.first.columns[column]
    sizes, values = [], []
    for number, fold in enumerate(board_scans(line, measure)):
        record: Record | None = line.row.first.cells.get((number, group))
        pixels = {
            score.scan: score.tp + score.fn
            for score in (record.scores if record is not None else ())
            if score.class_name == name and score.undefined is None
        }
        for scan, value in zip(fold.scans, fold.values[:, column], strict=True):
            if pixels.get(scan) and not np.isnan(value):
                sizes.append(float(pixels[scan]))
                values.append(float(value))
    return np.asarray(sizes), np.asarray(values)


def _spread(count: int) -> Floats:
    """Return fixed offsets in -1 .. 1 that separate points."""
    offsets: Floats = 2 * ((np.arange(count, dtype=np.float64) * 0.6180339887) % 1.0) - 1
    return offsets


def strokes(count: int) -> Sequence[tuple[str, str, object]]:
    """Return colour, marker and line style of `count` methods, at most eight."""
    return list(zip(COLOURS, MARKERS, STROKES, strict=True))[:count]
