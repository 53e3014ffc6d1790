"""Figure of one segmented scan: an annotated support slice, then the query slices with their prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """One slice: image (H,W), label map (H,W), aspect (pixel height over width), and caption."""

    image: NDArray[np.float32]
    label_map: NDArray[Any]
    aspect: float
    name: str


def draw_segmentation(
    heading: str, supports: Sequence[OutlinedSlice], queries: Sequence[OutlinedSlice], path: Path
) -> None:
    """Write a PNG: support slices with their annotation, then query slices with an outline of each class.

    The first row of an array is at the bottom, as in the contact sheet of a store.
    """
    rows = math.ceil((len(queries) + len(supports)) / COLUMNS)
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 8}):
        figure = Figure(figsize=(COLUMNS * 2.6, rows * 2.8 + 0.5), dpi=100, layout="constrained")
        axes = np.atleast_1d(figure.subplots(rows, COLUMNS)).ravel()
        for axis in axes:
            axis.set_axis_off()
        for number, (axis, one) in enumerate(zip(axes, (*supports, *queries), strict=False)):
            is_support = number < len(supports)
            colour = TRUTH if is_support else PREDICTION
            draw_grey(axis, one.image, aspect=one.aspect, interpolation="nearest")
            for value in np.unique(one.label_map[one.label_map > 0]):
                mask = one.label_map == value
                axis.contourf(mask, levels=[0.5, 1.5], colors=[colour], alpha=0.3)
                axis.contour(mask, levels=[0.5], colors=[colour], linewidths=1.0)
            axis.set_title(one.name, color="#996600" if is_support else "black", fontsize=8)
        figure.suptitle(heading, fontsize=10)
        with atomic_write(path, "wb") as stream:
            figure.savefig(stream, format="png", metadata={"Software": None})
