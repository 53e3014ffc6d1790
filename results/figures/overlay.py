"""Figures of segmented slices: support, query, truth and prediction side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fewshot.files.atomic_io import atomic_write
from results.figures.grey import draw_grey

TRUTH = "#ffb000"  # amber and blue differ in grey and for colour-blind people
PREDICTION = "#4d9dff"
DPI = 110  # pixels an inch


@dataclass(frozen=True)
class Panel:
    """One row of an overlay: images (H,W) float, masks (H,W) bool, and captions.

    `slice`: number of the query slice; `truth_points`, `found_points`: points (P,2) on it as (row, column) in
    pixels, None without any.
    """

    title: str
    support_image: NDArray[np.float32]
    support_mask: NDArray[np.bool_]
    query_image: NDArray[np.float32]
    truth: NDArray[np.bool_]
    prediction: NDArray[np.bool_]
    support_name: str
    query_name: str
    slice: int = 0
    truth_points: NDArray[np.float64] | None = None
    found_points: NDArray[np.float64] | None = None


def draw_overlay(heading: str, panels: Sequence[Panel], path: Path, dpi: int = DPI) -> None:
    """Write a PNG with one row per panel: support, query, truth, prediction, both outlines.

    Args:
        heading: over the picture.
        panels: the rows.
        path: the PNG.
        dpi: pixels an inch; the picture is 10.4 inches wide.
    """
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 8}):
        figure = Figure(figsize=(10.4, 2.35 * len(panels) + 0.7), dpi=dpi, layout="constrained")
        axes = np.atleast_2d(figure.subplots(len(panels), 5))
        for row, panel in zip(axes, panels, strict=True):
            _row(row, panel)
        for axis, name in zip(axes[0], ("support", "query", "truth", "prediction", "both"), strict=True):
            axis.set_title(f"{name}\n{axis.get_title()}".strip(), fontsize=9)
        figure.suptitle(heading, fontsize=10)
        with atomic_write(path, "wb") as stream:
            figure.savefig(stream, format="png", metadata={"Software": None})


def _row(row: Sequence[matplotlib.axes.Axes], panel: Panel) -> None:
    cells = (
        (panel.support_image, ((panel.support_mask, TRUTH, True),), panel.support_name),
        (panel.query_image, (), panel.query_name),
        (panel.query_image, ((panel.truth, TRUTH, True),), ""),
        (panel.query_image, ((panel.prediction, PREDICTION, True),), ""),
        (panel.query_image, ((panel.truth, TRUTH, False), (panel.prediction, PREDICTION, False)), ""),
    )
    true, found = (panel.truth_points, TRUTH, "o"), (panel.found_points, PREDICTION, "x")
    shown = ((), (), (true,), (found,), (true, found))
    for axis, (image, masks, caption), chains in zip(row, cells, shown, strict=True):
        draw_grey(axis, image)
        for points, colour, marker in chains:
            if points is not None and len(points):
                _draw_chain(axis, points, colour, marker)
        for mask, colour, filled in masks:
            if mask.any():
                if filled:
                    axis.contourf(mask, levels=[0.5, 1.5], colors=[colour], alpha=0.35)
                axis.contour(mask, levels=[0.5], colors=[colour], linewidths=1.0)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_xlabel(caption, fontsize=7)
    row[0].set_ylabel(panel.title, fontsize=8)


def _draw_chain(axis: matplotlib.axes.Axes, points: NDArray[np.float64], colour: str, marker: str) -> None:
    """Mark points (P,2) and join them from top to bottom."""
    ordered = points[np.argsort(points[:, 0], kind="stable")]
    axis.plot(ordered[:, 1], ordered[:, 0], marker=marker, markersize=4, linewidth=0.8, color=colour)
