"""Figure of one segmented scan: the annotated support slice, then the query slices with their prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fewshot.files.atomic_io import atomic_write
from results.figures.grey import draw_grey
from results.figures.overlay import PREDICTION, TRUTH

COLUMNS = 4


@dataclass(frozen=True)
class OutlinedSlice:
    """One slice: image (H,W), mask (H,W) bool, aspect (pixel height over width), and caption."""

    image: NDArray[np.float32]
    mask: NDArray[np.bool_]
    aspect: float
    name: str


def draw_segmentation(
    heading: str, support: OutlinedSlice, queries: Sequence[OutlinedSlice], path: Path
) -> None:
    """Write a PNG: the support with its annotation, then the query slices with the predicted outline.

    The first row of an array is at the bottom, as in the contact sheet of a store.
    """
    rows = math.ceil((len(queries) + 1) / COLUMNS)
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 8}):
        figure = Figure(figsize=(COLUMNS * 2.6, rows * 2.8 + 0.5), dpi=100, layout="constrained")
        axes = np.atleast_1d(figure.subplots(rows, COLUMNS)).ravel()
        for axis in axes:
            axis.set_axis_off()
        for number, (axis, one) in enumerate(zip(axes, (support, *queries), strict=False)):
            colour = PREDICTION if number else TRUTH
            draw_grey(axis, one.image, aspect=one.aspect, interpolation="nearest")
            if one.mask.any():
                axis.contourf(one.mask, levels=[0.5, 1.5], colors=[colour], alpha=0.3)
                axis.contour(one.mask, levels=[0.5], colors=[colour], linewidths=1.0)
            axis.set_title(one.name, color="#996600" if number == 0 else "black", fontsize=8)
        figure.suptitle(heading, fontsize=10)
        with atomic_write(path, "wb") as stream:
            figure.savefig(stream, format="png", metadata={"Software": None})
