"""Figure of an explanation: seeds, the nearest kind of prototype, the mask of every variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

from fewshot.files.atomic_io import atomic_write
from results.figures.grey import draw_grey
from results.figures.overlay import PREDICTION, TRUTH
from results.metrics.counts import count, dice

SEED_COLOURS = ("#ff4d6d", "#00c2a8", "#b06bff", "#ffe34d", "#ff8a3d")
KIND_COLOURS = ("#9a9a9a", "#4d9dff", "#d0021b", "#8a6d3b")
TINT = 0.45


@dataclass(frozen=True)
class SliceExplanation:
    """The explanation of one mask: images (H,W) float, masks (H,W) bool, maps (h,w) of features.

    Attributes:
        grid: (h,w).
        seeds: (k,2) int, row and column of the seeds on the feature map.
        places: (k,2) float, row and column of the detail prototypes on the feature map.
        weights: (k,h,w), weights of the detail prototypes; each map sums to 1.
        note: why the method made no detail prototypes, or "".
        nearest: (h,w), the index in `kinds` of the nearest prototype; None without such a map.
        kinds: kind of prototype -> number of prototypes.
        `masks`: variant -> predicted mask.
        trained: the variant that the weights were trained with.
    """

    support_image: NDArray[np.float32]
    support_mask: NDArray[np.bool_]
    grid: tuple[int, int]
    seeds: NDArray[np.int64]
    places: NDArray[np.float32]
    weights: NDArray[np.float32]
    note: str
    query_image: NDArray[np.float32]
    truth: NDArray[np.bool_]
    nearest: NDArray[np.int64] | None
    kinds: Mapping[str, int]
    masks: Mapping[str, NDArray[np.bool_]]
    trained: str
    support_name: str
    query_name: str

    @property
    def has_details(self) -> bool:
        """Say whether there are detail prototypes, or a note that explains their absence."""
        return bool(self.note) or len(self.weights) > 0

    def dice(self, variant: str) -> float | None:
        """Return the Dice of a variant's mask on this slice, in [0, 1]; None if both masks are empty."""
        tp, fp, fn = count(self.masks[variant], self.truth)
        return dice(int(tp), int(fp), int(fn))


def draw_explanation(heading: str, explanation: SliceExplanation, path: Path) -> None:
    """Write a PNG with two rows: support, clusters, query and nearest prototypes; then every variant's mask.

    A method without detail prototypes or without a map of kinds has fewer panels. The first row of an array
    is at the bottom, as in `draw_overlay`. A position of the feature map covers a square of pixels; seeds and
    detail prototypes are drawn at its centre.
    """
    top = [_support, *([_clusters] if explanation.has_details else []), _query]
    top += [_nearest] if explanation.nearest is not None else []
    columns = max(len(top), len(explanation.masks))
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 8}):
        figure = Figure(figsize=(3.0 * columns, 7.4), dpi=110, layout="constrained")
        axes = figure.subplots(2, columns)
        for axis in axes.ravel():
            axis.set_axis_off()
        for axis, draw in zip(axes[0], top, strict=False):
            draw(axis, explanation)
        for axis, name in zip(axes[1], explanation.masks, strict=False):
            _prediction(axis, explanation, name)
        figure.legend(handles=_legend(explanation), loc="outside lower center", ncols=4, frameon=False)
        figure.suptitle(
            f"{heading}\nall masks from the same weights, trained as: {explanation.trained}", fontsize=10
        )
        with atomic_write(path, "wb") as stream:
            figure.savefig(stream, format="png", metadata={"Software": None})


def _query(axis: Axes, explanation: SliceExplanation) -> None:
    _image(axis, explanation.query_image, f"query: {explanation.query_name}")
    _outline(axis, explanation.truth, TRUTH)


def _prediction(axis: Axes, explanation: SliceExplanation, name: str) -> None:
    score = explanation.dice(name)
    text = "undefined" if score is None else f"{100 * score:.1f} %"
    trained = " (as trained)" if name == explanation.trained else ""
    _image(axis, explanation.query_image, f"{name}{trained}: Dice of the slice {text}")
    mask = explanation.masks[name]
    if mask.any():
        axis.contourf(mask, levels=[0.5, 1.5], colors=[PREDICTION], alpha=0.35)
    _outline(axis, mask, PREDICTION)
    _outline(axis, explanation.truth, TRUTH)


def _image(axis: Axes, image: NDArray[np.float32], title: str) -> None:
    draw_grey(axis, image)
    axis.set_title(title, fontsize=8)


def _outline(axis: Axes, mask: NDArray[np.bool_], colour: str) -> None:
    if mask.any():
        axis.contour(mask, levels=[0.5], colors=[colour], linewidths=1.0)


def _support(axis: Axes, explanation: SliceExplanation) -> None:
    _image(axis, explanation.support_image, f"support: {explanation.support_name}")
    _outline(axis, explanation.support_mask, TRUTH)
    for number, place in enumerate(
        _on_slice(explanation.places, explanation)
    ):  # larger markers behind, as they may overlap
        size = 6 + 4 * min(len(explanation.places) - number, len(SEED_COLOURS))
        colour: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": _colour(SEED_COLOURS, number)}
        axis.plot(place[1], place[0], marker="D", markersize=size, markeredgewidth=1.6, **colour)
    for number, place in enumerate(_on_slice(explanation.seeds, explanation)):
        colour = {"markerfacecolor": _colour(SEED_COLOURS, number), "markeredgecolor": "black"}
        axis.plot(place[1], place[0], marker="o", markersize=7, markeredgewidth=0.8, **colour)


def _clusters(axis: Axes, explanation: SliceExplanation) -> None:
    """Colour each position by the detail prototype with the largest weight; its maximum is opaque."""
    _image(axis, explanation.support_image, explanation.note or "detail prototype with the largest weight")
    if len(explanation.weights):
        relative = explanation.weights / explanation.weights.max(axis=(1, 2), keepdims=True)
        owner = explanation.weights.argmax(axis=0)
        picture = np.ones((*owner.shape, 4))
        colours = [to_rgb(_colour(SEED_COLOURS, number)) for number in range(len(explanation.weights))]
        picture[..., :3] = np.array(colours)[owner]
        picture[..., 3] = np.take_along_axis(relative, owner[None], axis=0)[0]
        _on_pixels(axis, picture, explanation)
    _outline(axis, explanation.support_mask, TRUTH)


def _nearest(axis: Axes, explanation: SliceExplanation) -> None:
    assert explanation.nearest is not None
    _image(axis, explanation.query_image, "most similar prototype of each position")
    colours = ListedColormap([_colour(KIND_COLOURS, kind) for kind in range(len(explanation.kinds))])
    _on_pixels(
        axis,
        explanation.nearest,
        explanation,
        cmap=colours,
        vmin=-0.5,
        vmax=len(explanation.kinds) - 0.5,
        alpha=TINT,
    )
    _outline(axis, explanation.truth, TRUTH)


def _on_pixels(
    axis: Axes, values: NDArray[np.float64] | NDArray[np.int64], explanation: SliceExplanation, **how: Any
) -> None:
    """Draw a map of positions over the pixels that it covers."""
    height, width = explanation.support_image.shape
    extent = (-0.5, width - 0.5, -0.5, height - 0.5)
    axis.imshow(values, origin="lower", extent=extent, interpolation="nearest", **how)


def _on_slice(
    places: NDArray[np.float32] | NDArray[np.int64], explanation: SliceExplanation
) -> NDArray[np.float64]:
    """Return the pixel coordinates (k,2) of the centres of positions (k,2) of the feature map."""
    if not len(places):
        return np.zeros((0, 2))
    side = np.array(explanation.support_image.shape) / np.array(explanation.grid)
    pixels: NDArray[np.float64] = (places + 0.5) * side - 0.5
    return pixels


def _colour(colours: Sequence[str], number: int) -> str:
    """Return the colour of a seed or kind; colours repeat after the last."""
    return colours[number % len(colours)]


def _legend(explanation: SliceExplanation) -> list[Line2D | Patch]:
    marks: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": "black", "linestyle": "none"}
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=TRUTH, label="annotation"),
        Line2D([], [], color=PREDICTION, label="prediction"),
    ]
    if explanation.has_details:
        handles += [
            Line2D([], [], marker="o", label=f"seed ({len(explanation.seeds)})", **marks),
            Line2D([], [], marker="D", label=f"detail prototype ({len(explanation.places)})", **marks),
        ]
    if explanation.nearest is None:
        return handles
    for kind, (name, prototypes) in enumerate(explanation.kinds.items()):
        positions = int((explanation.nearest == kind).sum())
        label = f"{name}: {positions} positions, {prototypes} prototypes"
        handles.append(Patch(color=_colour(KIND_COLOURS, kind), alpha=TINT, label=label))
    return handles
