"""Figures that need saved masks: Dice along the organ, and the predictions of each method on chosen scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from results.figures.board_figures import MOST, save, strokes, style
from results.figures.grey import draw_grey
from results.figures.overlay import PREDICTION, TRUTH
from results.metrics.counts import count, dice
from results.summary.arrays import Floats, mean_of_defined

BINS = 10

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class SliceMasks:
    """One query slice with every method's prediction: images (H,W), masks (H,W) bool, Dice of the scan."""

    title: str
    support_image: NDArray[np.float32]
    support_mask: Bools
    query_image: NDArray[np.float32]
    truth: Bools
    predictions: Mapping[str, Bools]
    dices: Mapping[str, float]
    support_name: str
    query_name: str


def dice_along_organ(prediction: Bools, truth: Bools, first: int, last: int) -> list[tuple[float, float]]:
    """Return (place, Dice) of the slices of one scan; slices with two empty masks are left out.

    Args:
        prediction, truth: (Z,H,W) bool.
        first, last: indices of the first and last slice.

    Returns:
        The place is in 0..1, from first to last (0.5 for a single slice); Dice is in [0, 1].
    """
    points = []
    for z in range(first, last + 1):
        tp, fp, fn = (int(number) for number in count(prediction[z], truth[z]))
        value = dice(tp, fp, fn)
        if value is not None:
            points.append(((z - first) / (last - first) if last > first else 0.5, value))
    return points


def binned(points: Sequence[tuple[float, float]], bins: int = BINS) -> Floats:
    """Return the mean Dice (bins,) of (place, Dice) points; NaN for an empty bin."""
    means = np.full(bins, np.nan)
    places = np.asarray([min(int(place * bins), bins - 1) for place, _value in points], dtype=np.int64)
    values = np.asarray([value for _place, value in points], dtype=np.float64)
    for number in np.unique(places):
        means[number] = values[places == number].mean()
    return means


Scans = Sequence[Sequence[tuple[float, float]]]


def draw_along(title: str, curves: Mapping[str, Mapping[str, Scans]], stem: Path) -> list[Path]:
    """Draw Dice along the organ, with one panel per class and one line per method; return the files.

    A line is the mean over scans of each scan's mean in a tenth of the organ.

    Args:
        title: the title of the figure.
        curves: method -> class -> the points of each scan, from `dice_along_organ`; at most eight methods.
        stem: path of the files without suffix.
    """
    if not 1 <= len(curves) <= MOST:
        raise ValueError(f"{len(curves)} methods, expected 1 to {MOST}")
    classes = list(dict.fromkeys(name for of_one in curves.values() for name in of_one))
    with style():
        figure = Figure(figsize=(1.2 + 3.0 * len(classes), 4.0), layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, len(classes), sharey=True))
        centres = (np.arange(BINS) + 0.5) / BINS
        for axis, name in zip(axes, classes, strict=True):
            for (label, of_one), (colour, marker, stroke) in zip(
                curves.items(), strokes(len(curves)), strict=True
            ):
                if of_one.get(name):
                    means = mean_of_defined(np.stack([binned(points) for points in of_one[name]]), 0)
                    shown = ~np.isnan(means)  # a short organ leaves bins empty; the line skips them
                    axis.plot(
                        centres[shown], 100 * means[shown], color=colour, marker=marker, linestyle=stroke,
                        markersize=4.5, linewidth=1.4, label=label if axis is axes[0] else None,
                    )  # fmt: skip
            axis.set_title(name, fontsize=10)
            axis.set_xlim(0, 1)
            axis.set_ylim(0, 100)
            axis.set_xticks([0, 0.5, 1], ["first", "slice of the organ", "last"], fontsize=8)
            axis.grid(axis="y", color="#dddddd", linewidth=0.6)
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
        axes[0].set_ylabel("Dice of the slice in percent")
        figure.suptitle(title, fontsize=10.5)
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
        return save(figure, stem)


def draw_predictions(title: str, rows: Sequence[SliceMasks], stem: Path) -> list[Path]:
    """Draw one row per query: support with annotation, query, truth, the mask of every method."""
    methods = list(dict.fromkeys(name for row in rows for name in row.predictions))
    with style():
        figure = Figure(figsize=(2.1 * (3 + len(methods)), 2.3 * len(rows) + 0.8), layout="constrained")
        axes = np.atleast_2d(figure.subplots(len(rows), 3 + len(methods)))
        for line, row in zip(axes, rows, strict=True):
            _show(line[0], row.support_image, row.support_mask, TRUTH, "support", row.support_name)
            _show(line[1], row.query_image, None, TRUTH, "query", row.query_name)
            _show(line[2], row.query_image, row.truth, TRUTH, "truth", "")
            for axis, name in zip(line[3:], methods, strict=True):
                if name not in row.predictions:
                    axis.set_axis_off()
                    continue
                caption = f"Dice of the scan {100 * row.dices[name]:.1f} %"
                _show(axis, row.query_image, row.predictions[name], PREDICTION, name, caption)
                axis.contour(row.truth, levels=[0.5], colors=[TRUTH], linewidths=0.8, linestyles="dashed")
            line[0].set_ylabel(row.title, fontsize=8)
        for line in axes[1:]:
            for axis in line:
                axis.set_title("")
        figure.suptitle(title, fontsize=10.5)
        return save(figure, stem)


def _show(
    axis: Axes, image: NDArray[np.float32], mask: Bools | None, colour: str, name: str, caption: str
) -> None:
    draw_grey(axis, image)
    if mask is not None and mask.any():
        axis.contourf(mask, levels=[0.5, 1.5], colors=[colour], alpha=0.35)
        axis.contour(mask, levels=[0.5], colors=[colour], linewidths=1.1)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title("\n".join(_wrapped(name, 24)), fontsize=8)
    axis.set_xlabel(caption, fontsize=7)


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        fits = len(lines[-1]) + len(word) + 1 <= width or not lines[-1]
        lines = [*lines[:-1], f"{lines[-1]} {word}".strip()] if fits else [*lines, word]
    return lines
