"""A figure of one prepared scan: slices with outlined classes, and the same slices with superpixels."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from episodes.figures.contact_sheet import class_colours
from episodes.pseudo_labels.superpixels import outlines
from episodes.store.scan import StoredScan
from episodes.store.store import Store
from fewshot.base.seeds import seed_for
from fewshot.files.atomic_io import atomic_write

MOST = 24  # slices per sheet
COLUMNS = 8
PANEL_INCHES = 1.9
HEAD_INCHES, BLOCK_INCHES, FOOT_INCHES = 0.55, 0.35, 0.55


def spread_out(slices: Sequence[int], most: int = MOST) -> tuple[int, ...]:
    """Return at most `most` of `slices`, evenly spaced, including the first and the last."""
    if len(slices) <= most:
        return tuple(slices)
    places = np.linspace(0, len(slices) - 1, most).round().astype(int)
    return tuple(slices[place] for place in places)


def superpixel_colours(count: int) -> NDArray[np.float64]:
    """Return `count` random colours (count,3) in [0,1]; superpixel n has one colour in all sheets."""
    draw = np.random.Generator(np.random.PCG64(seed_for("superpixel colours")))
    hues = draw.random((count, 2))
    return np.array([colorsys.hsv_to_rgb(hue, 0.5 + 0.5 * depth, 1.0) for hue, depth in hues]).reshape(-1, 3)


def write_scan_sheet(store: Store, scan: str, slices: Sequence[int], path: Path) -> None:
    """Draw `slices` of a scan in the PNG `path`: a block with classes and a block with superpixels.

    Slices are cropped to the model's input. Array rows run upwards and columns to the right, whatever the
    header says. Outlines of tested classes are solid, those of other stored classes dotted. A superpixel
    number has one colour on all slices, though superpixels of different slices are unrelated.
    """
    stored, spec = store.scan(scan), store.spec
    colours = class_colours(spec.classes)
    columns = min(COLUMNS, len(slices))
    rows = math.ceil(len(slices) / columns)
    width = max(columns * PANEL_INCHES, 7.0)
    height = HEAD_INCHES + FOOT_INCHES + 2 * (BLOCK_INCHES + rows * (PANEL_INCHES + 0.2))
    figure = Figure(figsize=(width, height), dpi=90)
    FigureCanvasAgg(figure)
    figure.suptitle(
        f"{spec.title}: scan {scan}, {len(slices)} of {len(stored.labels)} slices; array order: x to the "
        "right, y upwards",
        fontsize=10, y=1 - 0.12 / height,
    )  # fmt: skip
    block = (BLOCK_INCHES + rows * (PANEL_INCHES + 0.2)) / height
    window = _window(stored, spec.image_size)
    for number, (name, draw) in enumerate((("classes", _draw_classes), ("superpixels", _draw_superpixels))):
        top = 1 - HEAD_INCHES / height - number * block
        figure.text(0.01, top - 0.06 / height, name, fontsize=10, fontweight="bold", va="top")
        grid = figure.add_gridspec(
            rows, columns, left=0.01, right=0.99, top=top - (BLOCK_INCHES + 0.1) / height,
            bottom=top - block + 0.02 / height, wspace=0.03, hspace=0.12,
        )  # fmt: skip
        for place, z in enumerate(slices):
            panel = figure.add_subplot(grid[place // columns, place % columns])
            panel.set_axis_off()
            _draw_image(panel, stored, z, spec.image_size, window)
            draw(panel, store, stored, z, colours)
    handles = [
        Line2D([], [], color=colours[name], linestyle=_line(store, name), linewidth=2, label=name)
        for name in spec.classes
        if store.index.slices_of(name, scan)
    ]
    if handles:
        figure.legend(handles=handles, loc="lower center", ncols=7, frameon=False, fontsize=9)
    with atomic_write(path, "wb") as stream:
        figure.savefig(stream, format="png", metadata={"Software": None})


def _window(stored: StoredScan, size: int) -> tuple[float, float]:
    """Return the grey window of the whole scan, which makes its slices comparable."""
    low, high = np.percentile(stored.image[:, :size, :size], (1, 99.5))
    return float(low), float(max(high, low + 1e-6))


def _draw_image(panel: Any, stored: StoredScan, z: int, size: int, window: tuple[float, float]) -> None:
    image = np.asarray(stored.image[z, :size, :size], dtype=np.float64)
    aspect = stored.spacing_mm[1] / stored.spacing_mm[2]
    panel.imshow(
        image, cmap="gray", vmin=window[0], vmax=window[1], origin="lower", aspect=aspect,
        interpolation="bilinear",
    )  # fmt: skip
    panel.set_title(f"slice {z}", fontsize=7, pad=2)


def _draw_classes(panel: Any, store: Store, stored: StoredScan, z: int, colours: dict[str, Any]) -> None:
    size = store.spec.image_size
    labels = np.asarray(stored.labels[z, :size, :size])
    for name, value in store.spec.classes.items():
        for line in outlines(labels == value):
            panel.plot(
                line[:, 1], line[:, 0], color=colours[name], linestyle=_line(store, name), linewidth=1.1
            )


def _line(store: Store, class_name: str) -> Literal["-", ":"]:
    return "-" if class_name in store.spec.tested else ":"


def _draw_superpixels(panel: Any, store: Store, stored: StoredScan, z: int, colours: dict[str, Any]) -> None:
    size = store.spec.image_size
    numbers = np.asarray(stored.superpixels[z, :size, :size])
    table = ListedColormap(superpixel_colours(int(numbers.max()) + 1))
    panel.imshow(
        np.ma.masked_equal(numbers, 0), cmap=table, vmin=-0.5, vmax=float(numbers.max()) + 0.5,
        origin="lower", aspect=stored.spacing_mm[1] / stored.spacing_mm[2], interpolation="nearest",
        alpha=0.55,
    )  # fmt: skip
