"""Figures of all pairs of methods: the critical-difference diagram and the matrix of differences.

`results.comparison.all_pairs` computes the ranks, differences and tests. Neither figure needs colour: bars,
positions and printed numbers carry the content.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.comparison.all_pairs import ALPHA, AllPairs, Pair
from results.figures.board_figures import save, style, wrapped

MOST_ROWS = 24  # of the matrix: more cells have no legible text
LINE = 0.62  # height of one label of the diagram, in axis units
BAR = 0.22  # height of one bar
COLOURS = "PuOr_r"  # purple and orange: told apart without red and green


def draw_critical_difference(made: AllPairs, title: str, note: str, stem: Path) -> list[Path]:
    """Draw mean ranks on a line, rank 1 at the left, and a bar over each clique; return the files.

    A row with one seed has an open mark and no bar, because the test leaves it out.

    Args:
        made: all pairs, of two or more rows.
        title: title of the figure.
        note: the line under the figure, which names the test.
        stem: path of the files without suffix.

    Raises:
        ValueError: there are fewer than two rows.
    """
    count = len(made.names)
    if count < 2:
        raise ValueError(f"{count} rows: expected two or more")
    left = (count + 1) // 2
    lines = max(left, count - left)
    bars = made.cliques
    depth = 0.5 + BAR * len(bars)
    with style():
        figure = Figure(figsize=(9.5, 1.9 + 0.42 * lines + 0.16 * len(bars)), layout="constrained")
        axis = figure.subplots()
        span = count - 1
        reach = 0.75 * span  # room for the labels beside the scale
        axis.set_xlim(1 - reach, count + reach)
        axis.set_ylim(depth + LINE * lines, -1.0)
        axis.axis("off")
        axis.plot([1, count], [0, 0], color="#000000", linewidth=1.2)
        for rank in range(1, count + 1, -(-count // 25)):  # at most 25 numbers, so that they stay apart
            axis.plot([rank, rank], [0, -0.14], color="#000000", linewidth=1.0)
            axis.text(rank, -0.2, str(rank), ha="center", va="bottom", fontsize=8)
        axis.text(
            (1 + count) / 2, -0.62, "mean rank over folds (1 is best)", ha="center", va="bottom", fontsize=8
        )
        for place, clique in enumerate(bars):
            ends = [made.ranks[made.names.index(name)] for name in (clique[0], clique[-1])]
            height = 0.28 + BAR * place
            axis.plot(
                [ends[0] - 0.012 * span, ends[1] + 0.012 * span], [height, height], color="#000000",
                linewidth=3.6, solid_capstyle="butt",
            )  # fmt: skip
        for number, (name, mean_rank) in enumerate(zip(made.names, made.ranks, strict=True)):
            is_left = number < left
            line = number if is_left else count - 1 - number
            height = depth + LINE * (line + 0.35)
            edge = 1 - 0.04 * span if is_left else count + 0.04 * span
            axis.plot([mean_rank, mean_rank, edge], [0, height, height], color="#555555", linewidth=0.8)
            face = "#ffffff" if name in made.seeds_missing else "#000000"
            axis.plot([mean_rank], [0], "o", markersize=5, markerfacecolor=face, markeredgecolor="#000000")
            text = f"{name}  {mean_rank:.2f}" if is_left else f"{mean_rank:.2f}  {name}"
            axis.text(
                edge + (-0.015 if is_left else 0.015) * span, height, text,
                ha="right" if is_left else "left", va="center", fontsize=8.5,
            )  # fmt: skip
        figure.suptitle(wrapped(title, 90), fontsize=10.5)
        marks = "A bar joins methods of which no two differ significantly."
        if made.seeds_missing:
            marks += " Open mark: one training seed, not tested, no bar."
        figure.supxlabel(wrapped(f"{marks} {note}", 135), fontsize=7.5)
        return save(figure, stem)


def draw_all_pairs(made: AllPairs, title: str, unit: str, note: str, stem: Path) -> list[Path]:
    """Draw row minus column for every pair of rows, with Holm's p; return the files.

    A bold cell is significant at `ALPHA`. At most `MOST_ROWS` rows are drawn, best mean rank first.

    Args:
        made: all pairs.
        title: title of the figure.
        unit: name of the measure, for the colour bar.
        note: the line under the figure, which names the test.
        stem: path of the files without suffix.
    """
    names = made.names[:MOST_ROWS]
    count = len(names)
    values = np.zeros((count, count))
    for row, a in enumerate(names):
        for column, b in enumerate(names):
            if a != b:
                pair = made.pair(a, b)
                values[row, column] = 100 * pair.difference * (1 if pair.a == a else -1)
    most = max(float(np.abs(values).max()), 1e-9)
    with style():
        figure = Figure(figsize=(3.4 + 0.82 * count, 2.9 + 0.56 * count), layout="constrained")
        axis = figure.subplots()
        image = axis.imshow(values, cmap=COLOURS, vmin=-most, vmax=most, aspect="auto")
        for row, a in enumerate(names):
            for column, b in enumerate(names):
                if a != b:
                    _cell(axis, row, column, values[row, column], made.pair(a, b), most)
        axis.set_xticks(range(count), names, rotation=40, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(count), names)
        axis.set_xticks(np.arange(count + 1) - 0.5, minor=True)
        axis.set_yticks(np.arange(count + 1) - 0.5, minor=True)
        axis.grid(which="minor", color="#ffffff", linewidth=1.5)
        axis.tick_params(which="both", length=0)
        axis.spines[:].set_visible(False)
        axis.set_xlabel("minus this method")
        axis.set_ylabel("this method")
        bar = figure.colorbar(image, ax=axis, shrink=0.8, pad=0.02)
        bar.set_label(f"{unit}, percentage points")
        bar.outline.set_visible(False)
        width = int(figure.get_figwidth() * 11)
        figure.suptitle(wrapped(title, width), fontsize=10.5)
        figure.supxlabel(wrapped(f"Bold: significant. {note}", int(1.5 * width)), fontsize=7.5)
        return save(figure, stem)


def p_text(pair: Pair) -> str:
    """Return Holm's p of a pair for print, or the reason why there is no test."""
    if pair.corrected is None:
        return pair.reason
    return "p<0.001" if pair.corrected < 0.001 else f"p={pair.corrected:.3f}"


def _cell(axis: Axes, row: int, column: int, value: float, pair: Pair, most: float) -> None:
    is_dark = abs(value) > 0.62 * most
    is_sure = pair.corrected is not None and pair.corrected < ALPHA
    axis.text(
        column, row, f"{value:+.1f}\n{p_text(pair)}", ha="center", va="center", fontsize=7.2,
        color="#ffffff" if is_dark else "#000000", fontweight="bold" if is_sure else "normal",
        linespacing=1.25,
    )  # fmt: skip
