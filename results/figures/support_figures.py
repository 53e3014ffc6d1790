"""Dice by support scan, for protocols that use several supports in turn (open-ep)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fewshot.base.errors import UserError
from results.figures.board_figures import MOST, save, strokes, style, wrapped
from results.leaderboard.board import Board
from results.summary.configuration_result import ConfigurationResult
from results.summary.frame import mean_of, mean_over
from results.summary.seed_average import SeedAverage
from results.summary.select_records import question_text
from results.summary.support_sensitivity import (
    over_folds,
    several_supports,
    spread_of_supports,
    worst_support,
)


@dataclass(frozen=True)
class SupportDice:
    """Dice of one row by support, in [0, 1].

    Attributes:
        label: the row's label.
        dice: mean over the folds that use a support of the mean over query scans, by (class, supports);
            seeds are averaged.
        spread, worst: the columns `spread of supports` and `worst support` of a fold table, averaged over
            seeds; None if a cell is missing.
    """

    label: str
    dice: pd.Series[float]
    spread: float | None
    worst: float | None


def support_dice(label: str, row: SeedAverage) -> SupportDice:
    """Return the Dice of a row by support."""
    means = pd.concat([result.support_means for result in row.results])
    return SupportDice(
        label,
        mean_over(means, "fold", "group"),  # equal indices of several seeds are averaged, too
        _over_seeds(row.results, spread_of_supports),
        _over_seeds(row.results, worst_support),
    )


def draw_supports(board: Board, stem: Path) -> list[Path]:
    """Draw one panel per class: support scans from worst to best on the x axis, one line per method.

    The legend holds the spread over supports. The best eight rows are drawn. Returns the files. Raises
    `UserError` if the protocol uses one support per query.
    """
    rows = [line for line in board.lines if any(several_supports(result) for result in line.row.results)]
    if not rows:
        raise UserError(
            "the records use one support per query; run the protocol open-ep, which uses every scan in turn"
        )
    found = [support_dice(line.label, line.row) for line in rows[:MOST]]
    return draw_support_dice(found, f"Dice on {question_text(board.record)}", stem)


def draw_support_dice(rows: Sequence[SupportDice], title: str, stem: Path) -> list[Path]:
    """Draw Dice by support of one to eight rows; return the files. Raises `ValueError` for another number."""
    if not 1 <= len(rows) <= MOST:
        raise ValueError(f"{len(rows)} rows: expected 1 to {MOST}")
    classes = list(dict.fromkeys(name for row in rows for name in row.dice.index.get_level_values("class")))
    with style():
        most = max(len(_supports(rows, name)) for name in classes)
        figure = Figure(
            figsize=(1.2 + max(2.6, 0.22 * most + 0.6) * len(classes), 4.6 + 0.2 * len(rows)),
            layout="constrained",
        )
        axes = np.atleast_1d(figure.subplots(1, len(classes), sharey=True))
        for axis, name in zip(axes, classes, strict=True):
            order = _supports(rows, name)
            for row, (colour, marker, stroke) in zip(rows, strokes(len(rows)), strict=True):
                values = _of_class(row, name)
                places = [place for place, support in enumerate(order) if support in values]
                axis.plot(
                    places, [100 * values[order[place]] for place in places], color=colour, marker=marker,
                    linestyle=stroke, markersize=4.5, linewidth=1.0, alpha=0.9,
                    label=_legend(row) if axis is axes[0] else None,
                )  # fmt: skip
            axis.set_title(name, fontsize=10)
            axis.set_xticks(range(len(order)), [text.replace(",", "+") for text in order], rotation=90)
            axis.tick_params(axis="x", labelsize=7)
            axis.set_xlabel("support scan, worst to best", fontsize=8)
            axis.set_ylim(0, 100)
            axis.grid(axis="y", color="#dddddd", linewidth=0.6)
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
        axes[0].set_ylabel("Dice in percent, mean over query scans")
        figure.suptitle(title, fontsize=10.5)
        figure.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=8)
        return save(figure, stem)


def _supports(rows: Sequence[SupportDice], name: str) -> list[str]:
    """Return the supports of a class, from the smallest to the largest mean over rows."""
    values: dict[str, list[float]] = {}
    for row in rows:
        for support, dice in _of_class(row, name).items():
            values.setdefault(support, []).append(dice)
    return sorted(values, key=lambda support: (mean_of(values[support]), support))


def _of_class(row: SupportDice, name: str) -> Mapping[str, float]:
    classes = row.dice.index.get_level_values("class")
    chosen = row.dice[classes == name].droplevel("class")
    return dict(zip(map(str, chosen.index), map(float, chosen), strict=True))


def _legend(row: SupportDice) -> str:
    if row.spread is None or row.worst is None:
        return wrapped(f"{row.label}: spread not known, cells are missing", 100)
    spread = f"spread over supports {100 * row.spread:.1f} points"
    return wrapped(f"{row.label}: {spread}, worst support {100 * row.worst:.1f} %", 100)


def _over_seeds(
    results: Sequence[ConfigurationResult], measure: Callable[[ConfigurationResult, int], float | None]
) -> float | None:
    values = [over_folds(result, measure) for result in results]
    return None if None in values else mean_of(value for value in values if value is not None)
