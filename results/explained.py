"""The picture of one answer taken apart: seeds, what query positions are like, each module's part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from fewshot.files import atomic_write
from results.figures import PREDICTION, TRUTH
from results.scores import count, dice

SEED_COLOURS = ("#ff4d6d", "#00c2a8", "#b06bff", "#ffe34d", "#ff8a3d")
KIND_COLOURS = ("#9a9a9a", "#4d9dff", "#d0021b", "#8a6d3b")
TINT = 0.45


@dataclass(frozen=True)
class Explained:
    """One answer: images (H,W) float, masks (H,W) bool, the rest on the feature map of h x w positions.

    `seeds` (k,2), row and column, and of the detail prototypes grown from them `places` (k,2) and `weights`
    (k,h,w), each summing to 1; `note`: why there are none. `nearest` (h,w): an index of `kinds`, whose values
    are numbers of prototypes. `answers`: variant -> mask; `trained`: the one the weights were trained as.
    """

    support_image: NDArray[np.float32]
    support_mask: NDArray[np.bool_]
    seeds: NDArray[np.int64]
    places: NDArray[np.float32]
    weights: NDArray[np.float32]
    note: str
    query_image: NDArray[np.float32]
    truth: NDArray[np.bool_]
    nearest: NDArray[np.int64]
    kinds: Mapping[str, int]
    answers: Mapping[str, NDArray[np.bool_]]
    trained: str
    support_name: str
    query_name: str

    def dice(self, variant: str) -> float | None:
        """Return the Dice of a variant's mask on this slice, in [0, 1]; None where nothing is to be found."""
        tp, fp, fn = count(self.answers[variant], self.truth)
        return dice(int(tp), int(fp), int(fn))


def draw_explained(heading: str, one: Explained, path: Path) -> None:
    """Write a PNG of two rows: support, clusters, query and nearest prototypes; then every variant's mask.

    Rows of the arrays run upwards, as in `draw_overlay`. A position of the feature map is a square of pixels;
    seeds and detail prototypes are drawn at its middle.
    """
    variants = list(one.answers)
    columns = max(4, len(variants))
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 8}):
        figure = Figure(figsize=(3.0 * columns, 7.4), dpi=110, layout="constrained")
        axes = figure.subplots(2, columns)
        for axis in axes.ravel():
            axis.set_axis_off()
        _support(axes[0, 0], one)
        _clusters(axes[0, 1], one)
        _image(axes[0, 2], one.query_image, f"query: {one.query_name}")
        _outline(axes[0, 2], one.truth, TRUTH)
        _nearest(axes[0, 3], one)
        for axis, name in zip(axes[1], variants, strict=False):
            score = one.dice(name)
            told = "undefined" if score is None else f"{100 * score:.1f} %"
            trained = " (as trained)" if name == one.trained else ""
            _image(axis, one.query_image, f"{name}{trained}: Dice of the slice {told}")
            mask = one.answers[name]
            if mask.any():
                axis.contourf(mask, levels=[0.5, 1.5], colors=[PREDICTION], alpha=0.35)
            _outline(axis, mask, PREDICTION)
            _outline(axis, one.truth, TRUTH)
        figure.legend(handles=_legend(one), loc="outside lower center", ncols=4, frameon=False)
        figure.suptitle(
            f"{heading}\nthe same weights in every answer, trained as: {one.trained}", fontsize=10
        )
        with atomic_write(path, "wb") as stream:
            figure.savefig(stream, format="png", metadata={"Software": None})


def _image(axis: Axes, image: NDArray[np.float32], title: str) -> None:
    low, high = np.percentile(image, (1, 99.5))
    axis.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), origin="lower")
    axis.set_title(title, fontsize=8)


def _outline(axis: Axes, mask: NDArray[np.bool_], colour: str) -> None:
    if mask.any():
        axis.contour(mask, levels=[0.5], colors=[colour], linewidths=1.0)


def _support(axis: Axes, one: Explained) -> None:
    _image(axis, one.support_image, f"support: {one.support_name}")
    _outline(axis, one.support_mask, TRUTH)
    for number, place in enumerate(_on_slice(one.places, one)):  # they may lie close: larger ones behind
        size = 6 + 4 * (len(one.places) - number)
        colour: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": SEED_COLOURS[number]}
        axis.plot(place[1], place[0], marker="D", markersize=size, markeredgewidth=1.6, **colour)
    for number, place in enumerate(_on_slice(one.seeds, one)):
        colour = {"markerfacecolor": SEED_COLOURS[number], "markeredgecolor": "black"}
        axis.plot(place[1], place[0], marker="o", markersize=7, markeredgewidth=0.8, **colour)


def _clusters(axis: Axes, one: Explained) -> None:
    """Each position in the colour of the detail prototype that takes most of it, opaque at its maximum."""
    _image(axis, one.support_image, one.note or "which detail prototype takes most of a position")
    if len(one.weights):
        relative = one.weights / one.weights.max(axis=(1, 2), keepdims=True)
        owner = one.weights.argmax(axis=0)
        picture = np.ones((*owner.shape, 4))
        picture[..., :3] = np.array([to_rgb(colour) for colour in SEED_COLOURS])[owner]
        picture[..., 3] = np.take_along_axis(relative, owner[None], axis=0)[0]
        _on_pixels(axis, picture, one)
    _outline(axis, one.support_mask, TRUTH)


def _nearest(axis: Axes, one: Explained) -> None:
    _image(axis, one.query_image, "the prototype each position is most like")
    colours = ListedColormap(KIND_COLOURS[: len(one.kinds)])
    _on_pixels(axis, one.nearest, one, cmap=colours, vmin=-0.5, vmax=len(one.kinds) - 0.5, alpha=TINT)
    _outline(axis, one.truth, TRUTH)


def _on_pixels(
    axis: Axes, values: NDArray[np.float64] | NDArray[np.int64], one: Explained, **how: Any
) -> None:
    """Lay a map of positions over the pixels it stands for."""
    height, width = one.support_image.shape
    extent = (-0.5, width - 0.5, -0.5, height - 0.5)
    axis.imshow(values, origin="lower", extent=extent, interpolation="nearest", **how)


def _on_slice(places: NDArray[np.float32] | NDArray[np.int64], one: Explained) -> NDArray[np.float64]:
    """Return the pixels (k,2) at the middle of places (k,2) of the feature map."""
    side = np.array(one.support_image.shape) / np.array(one.nearest.shape)
    pixels: NDArray[np.float64] = (places + 0.5) * side - 0.5
    return pixels


def _legend(one: Explained) -> list[Line2D | Patch]:
    marks: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": "black", "linestyle": "none"}
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=TRUTH, label="annotation"),
        Line2D([], [], color=PREDICTION, label="answer"),
        Line2D([], [], marker="o", label=f"seed ({len(one.seeds)})", **marks),
        Line2D([], [], marker="D", label=f"detail prototype ({len(one.places)})", **marks),
    ]
    for kind, (name, prototypes) in enumerate(one.kinds.items()):
        positions = int((one.nearest == kind).sum())
        label = f"{name}: {positions} positions, {prototypes} prototypes"
        handles.append(Patch(color=KIND_COLOURS[kind], alpha=TINT, label=label))
    return handles
