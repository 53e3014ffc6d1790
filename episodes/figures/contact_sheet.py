"""Contact sheets: one slice of every scan with its classes outlined, to make flipped labels visible."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from episodes.pseudo_labels.superpixels import outlines
from episodes.store.store import Store
from fewshot.files.atomic_io import atomic_write

COLUMNS = 5
MOST = 50  # scans per sheet, so that memory does not grow with the dataset
PANEL_INCHES = 2.6


def middle_class_slice(labels: NDArray[Any], values: Sequence[int]) -> int:
    """Return the middle of the slices of (Z,Y,X) labels that show most of `values`; Z // 2 without any."""
    shown = sum((labels == value).any(axis=(1, 2)).astype(int) for value in values)
    counts = np.asarray(shown)
    if counts.max() == 0:
        return len(labels) // 2
    slices = np.flatnonzero(counts == counts.max())
    return int(slices[len(slices) // 2])


def write_contact_sheet(store: Store, path: Path) -> list[Path]:
    """Draw the middle class slice of every scan, cropped to the model's input; return the PNG files.

    The first 50 scans are drawn in `path`, such as contact.png, the next in contact-2.png beside it, and so
    on; `path` is written last. Array rows run upwards and columns to the right, whatever the header says.
    Outlines of tested classes are solid, those of other stored classes dotted.
    """
    scans = store.index.scans
    sheets = {}
    for number, start in enumerate(range(0, len(scans), MOST), start=1):
        name = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        sheets[name] = scans[start : start + MOST]
    for name, sheet_scans in reversed(sheets.items()):
        _write_sheet(store, sheet_scans, name)
    return list(sheets)


def _write_sheet(store: Store, scans: Sequence[str], path: Path) -> None:
    spec, count = store.spec, len(store.index.scans)
    span = "" if len(scans) == count else f"{scans[0]} to {scans[-1]} of "
    colours = class_colours(spec.classes)
    rows = math.ceil(len(scans) / COLUMNS)
    figure = Figure(figsize=(COLUMNS * PANEL_INCHES, rows * (PANEL_INCHES + 0.25) + 1.3))
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    for panel in grid.flat:
        panel.set_axis_off()
    for panel, scan in zip(grid.flat, scans, strict=False):
        _draw_scan(panel, store, scan, colours)
    handles = [
        Line2D(
            [],
            [],
            color=colours[name],
            linestyle="-" if name in spec.tested else ":",
            linewidth=2,
            label=name,
        )
        for name in spec.classes
    ]
    height = float(figure.get_size_inches()[1])
    figure.suptitle(
        f"{spec.title}: {span}{count} scans, the middle slice of those with most tested classes\n"
        "array order: x to the right, y upwards; every scan should look alike",
        fontsize=11, y=1 - 0.1 / height,
    )  # fmt: skip
    figure.legend(handles=handles, loc="lower center", ncols=min(7, len(handles)), frameon=False, fontsize=10)
    figure.subplots_adjust(
        left=0.01, right=0.99, top=1 - 0.8 / height, bottom=0.6 / height, wspace=0.03, hspace=0.12
    )
    with atomic_write(path, "wb") as stream:
        figure.savefig(stream, format="png", dpi=90)
    figure.clear()  # panels refer to each other and would hold the memory


def _draw_scan(panel: Any, store: Store, scan: str, colours: dict[str, Any]) -> None:
    spec, stored = store.spec, store.scan_once(scan)
    z = middle_class_slice(stored.labels, [spec.classes[name] for name in spec.tested])
    size = spec.image_size
    image = np.asarray(stored.image[z, :size, :size], dtype=np.float64)
    labels = np.array(stored.labels[z, :size, :size])  # a copy, so that the memory map closes
    low, high = np.percentile(image, (1, 99))
    panel.imshow(
        image, cmap="gray", vmin=low, vmax=max(high, low + 1), origin="lower", interpolation="bilinear"
    )
    for name, value in spec.classes.items():
        tested = name in spec.tested
        for line in outlines(labels == value):
            panel.plot(
                line[:, 1], line[:, 0], color=colours[name], linestyle="-" if tested else ":",
                linewidth=1.3 if tested else 1.0,
            )  # fmt: skip
    panel.set_title(f"scan {scan}, slice {z} of {len(stored.labels)}", fontsize=8, pad=2, y=1.0)


def class_colours(names: Iterable[str]) -> dict[str, Any]:
    """Return class -> colour by name, so that an organ has the same colour in every dataset."""
    fixed = {"liver": "#ff5a36", "right-kidney": "#ffd92f", "left-kidney": "#35c4ff", "spleen": "#52e052"}
    fixed |= {"rv": "#35c4ff", "lv-myo": "#ffd92f", "lv-bp": "#ff5a36"}  # bright colours for dark slices
    rest = [colour for colour in matplotlib.colormaps["tab20"].colors if colour]  # type: ignore[attr-defined]
    others = [name for name in names if name not in fixed]
    return {**fixed, **{name: rest[(2 * i + 8) % 20] for i, name in enumerate(others)}}
