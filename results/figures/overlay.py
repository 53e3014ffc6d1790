"""Figures of segmented slices: support, query, truth and prediction side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fewshot.files.atomic_io import atomic_write
from results.figures.grey import draw_grey

TRUTH = "#ffb000"  # amber and blue differ in grey and for colour-blind people
PREDICTION = "#4d9dff"
DPI = 110  # pixels an inch


WITH_SUPPORT = ("support", "query", "truth", "prediction", "both")
WITH_HEAT = ("query", "truth", "prediction", "both", "heat-maps")  # a landmark method sees no support
CHANNEL_COLOURS = "rainbow"  # of the channels of heat-maps, from the first to the last
WIDTH, WIDTH_WITH_HEAT = 10.4, 13.0  # inches of a row


@dataclass(frozen=True)
class Panel:
    """One row of an overlay: images (H,W) float, masks (H,W) bool, and captions.

    Attributes:
        truth_points, found_points: points (P,2) on it as (row, column) in pixels; None without any.
        heat: heat-maps (C,h,w) on the first h rows and w columns of the query; None without any.
        upright: whether the first row is the top of the picture; else it is drawn at the bottom.
    """

    title: str
    support_image: NDArray[np.float32]
    support_mask: NDArray[np.bool_]
    query_image: NDArray[np.float32]
    truth: NDArray[np.bool_]
    prediction: NDArray[np.bool_]
    support_name: str
    query_name: str
    truth_points: NDArray[np.float64] | None = None
    found_points: NDArray[np.float64] | None = None
    heat: NDArray[np.float32] | None = None
    upright: bool = False


def draw_overlay(heading: str, panels: Sequence[Panel], path: Path, dpi: int = DPI) -> None:
    """Write a PNG with one row per panel: support, query, truth, prediction, both outlines.

    Panels with heat-maps have these as their last picture, and no support.

    Args:
        heading: over the picture.
        panels: the rows; all have heat-maps or none has.
        path: the PNG.
        dpi: pixels an inch; the picture is 10.4 inches wide, with heat-maps 13.
    """
    names, width = (WITH_SUPPORT, WIDTH) if panels[0].heat is None else (WITH_HEAT, WIDTH_WITH_HEAT)
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 8}):
        figure = Figure(figsize=(width, 0.226 * width * len(panels) + 0.7), dpi=dpi, layout="constrained")
        axes = np.atleast_2d(figure.subplots(len(panels), len(names)))
        for row, panel in zip(axes, panels, strict=True):
            for axis, name in zip(row, names, strict=True):
                draw_part(axis, panel, name)
            row[0].set_ylabel(panel.title, fontsize=8)
        for axis, name in zip(axes[0], names, strict=True):
            axis.set_title(f"{name}\n{axis.get_title()}".strip(), fontsize=9)
        figure.suptitle(heading, fontsize=10)
        with atomic_write(path, "wb") as stream:
            figure.savefig(stream, format="png", metadata={"Software": None})


def draw_part(axis: Axes, panel: Panel, name: str) -> None:
    """Draw one picture of a panel, by its name in `WITH_SUPPORT` or `WITH_HEAT`."""
    draw_grey(axis, panel.support_image if name == "support" else panel.query_image)
    if name == "heat-maps":
        assert panel.heat is not None
        _draw_heat(axis, panel.heat)
    masks: dict[str, tuple[tuple[NDArray[np.bool_], str], ...]] = {
        "support": ((panel.support_mask, TRUTH),),
        "truth": ((panel.truth, TRUTH),),
        "prediction": ((panel.prediction, PREDICTION),),
        "both": ((panel.truth, TRUTH), (panel.prediction, PREDICTION)),
    }
    for mask, colour in masks.get(name, ()):
        if mask.any():
            if name != "both":
                axis.contourf(mask, levels=[0.5, 1.5], colors=[colour], alpha=0.35)
            axis.contour(mask, levels=[0.5], colors=[colour], linewidths=1.0)
    true, found = (panel.truth_points, TRUTH, "o"), (panel.found_points, PREDICTION, "D")
    chains = {"truth": (true,), "prediction": (found,), "both": (true, found), "heat-maps": (true, found)}
    for points, colour, marker in chains.get(name, ()):
        if points is not None and len(points):
            _draw_chain(axis, points, colour, marker, filled=name in ("truth", "prediction"))
    if panel.upright:
        axis.invert_yaxis()
    axis.set_xticks([])
    axis.set_yticks([])
    captions = {"support": panel.support_name, "query": panel.query_name, "heat-maps": _channels(panel.heat)}
    axis.set_xlabel(captions.get(name, ""), fontsize=7)


def _draw_heat(axis: Axes, heat: NDArray[np.float32]) -> None:
    """Draw maps (C,h,w) over a slice: the colour is the largest channel's, opaque at the largest value."""
    owner, value, top = heat.argmax(axis=0), heat.max(axis=0), float(heat.max())
    if top > 0:
        colours = matplotlib.colormaps[CHANNEL_COLOURS](np.linspace(0, 1, len(heat)))
        picture = colours[owner]
        picture[..., 3] = np.clip(value / top, 0, 1)
        axis.imshow(picture, origin="lower", interpolation="nearest")


def _channels(heat: NDArray[np.float32] | None) -> str:
    """Return the caption of heat-maps: the colours of the channels, and the value of full colour."""
    if heat is None:
        return ""
    top = float(heat.max())
    number = f"channels 1 (violet) to {len(heat)} (red)" if len(heat) > 1 else "1 channel"
    return f"{number}, opaque at {top:.2g}" if top > 0 else f"{number}, none above 0"


def _draw_chain(axis: Axes, points: NDArray[np.float64], colour: str, marker: str, *, filled: bool) -> None:
    """Mark points (P,2) and join them from top to bottom, with hollow marks where others lie below."""
    ordered = points[np.argsort(points[:, 0], kind="stable")]
    marks: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": colour, "markeredgewidth": 0.9}
    if filled:
        marks = {"markerfacecolor": colour, "markeredgecolor": "black", "markeredgewidth": 0.6}
    axis.plot(
        ordered[:, 1], ordered[:, 0], marker=marker, markersize=4.5, linewidth=0.8, color=colour, **marks
    )
