"""Box plots of a board: one panel per class, one box per method, every scan as a point marked by its fold.

The folds have different marks, because the scans of a fold share one support and one trained model: points of
one mark that lie together show how much of the spread is the fold's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from results.figures.board_figures import (
    COLOURS,
    MARKERS,
    MOST,
    board_scans,
    save,
    style,
    with_numbers,
    wrapped,
)
from results.leaderboard.board import Board
from results.metrics.measures import MEASURES
from results.summary.arrays import Floats, mean_of_defined
from results.summary.fold_scans import FoldScans


def draw_boxes(board: Board, stem: Path) -> list[Path]:
    """Draw the quartiles of the scans' values and every scan; return the files.

    A box spans the quartiles, its line is the median, its whiskers end at the last scan within 1.5 of its
    length. The last panel, if every group has records, holds each scan's mean over classes. Raises
    `UserError` if no row has a number.
    """
    lines = with_numbers(board)
    scans = [board_scans(line, board.measure) for line in lines]
    names = [name for _group, name in lines[0].row.first.columns]
    panels = [
        (place, name)
        for place, name in enumerate(names)
        if any(_defined(fold.values[:, place]).size for folds in scans for fold in folds)
    ]
    if len(panels) == len(names):
        panels.append((len(names), "mean of the scan's classes"))
    folds = len(scans[0])
    with style():
        figure = Figure(figsize=(3.6 + 2.2 * len(panels), 0.55 * len(lines) + 1.9), layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
        for axis, (column, name) in zip(axes, panels, strict=True):
            for place, of_row in enumerate(scans):
                _box(axis, place, of_row, column)
            axis.set_title(name, fontsize=10)
            axis.set_xlabel(f"{MEASURES[board.measure]} in percent", fontsize=9)
            axis.set_xlim(-4, 104)
            axis.set_xticks([0, 25, 50, 75, 100])
            axis.grid(axis="x", color="#dddddd", linewidth=0.6)
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
        axes[0].set_yticks(range(len(lines)), [wrapped(line.label) for line in lines])
        axes[0].set_ylim(len(lines) - 0.4, -0.6)
        figure.suptitle(board.title, fontsize=10.5)
        marks = [
            Line2D([], [], linestyle="", marker=_marker(fold), markersize=5, color=_colour(fold))
            for fold in range(folds)
        ]
        if folds <= MOST:
            figure.legend(
                marks, [f"fold {fold}" for fold in range(folds)], loc="outside lower center", ncols=folds,
                frameon=False, fontsize=8,
            )  # fmt: skip
        return save(figure, stem)


def _box(axis: Axes, place: int, folds: list[FoldScans], column: int) -> None:
    """Draw the box and the points of one row in one panel."""
    values = [_column(fold.values, column) for fold in folds]
    every = _defined(np.concatenate(values))
    if not every.size:
        return
    axis.boxplot(
        [100 * every], positions=[place], orientation="horizontal", widths=0.62, showfliers=False,
        manage_ticks=False, medianprops={"color": "#000000", "linewidth": 1.8},
        boxprops={"color": "#444444"}, whiskerprops={"color": "#444444"}, capprops={"color": "#444444"},
    )  # fmt: skip
    offsets = np.linspace(-0.22, 0.22, len(folds)) if len(folds) > 1 else np.zeros(1)
    for number, of_fold in enumerate(values):
        points = _defined(of_fold)
        axis.scatter(
            100 * points, np.full(points.size, place + offsets[number]), s=15, marker=_marker(number),
            color=_colour(number), alpha=0.85, linewidths=0, zorder=3,
        )  # fmt: skip


def _column(values: Floats, column: int) -> Floats:
    """Return the values (scans,) of a class, or for the last one each scan's mean over classes."""
    chosen: Floats = values[:, column] if column < values.shape[1] else mean_of_defined(values, 1)
    return chosen


def _defined(values: Floats) -> Floats:
    chosen: Floats = values[~np.isnan(values)]
    return chosen


def _marker(fold: int) -> str:
    return MARKERS[fold % MOST]


def _colour(fold: int) -> str:
    return COLOURS[fold % MOST]
