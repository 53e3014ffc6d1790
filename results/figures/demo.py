"""Figure of a comparison: Dice of every class and scan, with the configurations side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fewshot.files.atomic_io import atomic_write

COLOURS = ("#1f6fd0", "#e08a00", "#767676", "#b0b0b0")  # differ in grey and for colour-blind people
MARKERS = ("o", "s", "D", "v")

Dices = Mapping[str, Mapping[str, Sequence[float]]]


def draw_comparison(heading: str, dices: Dices, path: Path) -> None:
    """Draw `dices` (configuration -> class -> Dice of each scan, 0..1) and write a PNG.

    A point is one scan, a bar the mean over the scans. Raises `ValueError` unless there are 1 to 4
    configurations.
    """
    if not 1 <= len(dices) <= len(COLOURS):
        raise ValueError(f"{len(dices)} configurations, expected 1 to {len(COLOURS)}")
    classes = list(dict.fromkeys(name for of_one in dices.values() for name in of_one))
    width = 0.8 / len(dices)
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 9}):
        figure = Figure(figsize=(1.9 * len(classes) + 2.2, 4.2), dpi=120, layout="constrained")
        axis = figure.subplots()
        for n, (label, of_one) in enumerate(dices.items()):
            for place, name in enumerate(classes):
                values = 100 * np.asarray(of_one.get(name, ()), dtype=np.float64)
                if not len(values):
                    continue
                x = place - 0.4 + (n + 0.5) * width
                axis.scatter(
                    x + width * _spread(len(values)), values, s=13, color=COLOURS[n], marker=MARKERS[n],
                    alpha=0.55, linewidths=0, label=label if place == 0 else None,
                )  # fmt: skip
                mean = float(values.mean())
                axis.plot([x - 0.4 * width, x + 0.4 * width], [mean, mean], color=COLOURS[n], linewidth=2.6)
                axis.annotate(
                    f"{mean:.0f}", (x, mean), textcoords="offset points", xytext=(0, 4), ha="center",
                    fontsize=8, fontweight="bold",
                )  # fmt: skip
        axis.set_xticks(range(len(classes)), classes)
        axis.set_xlim(-0.5, len(classes) - 0.5)
        axis.set_ylim(0, 100)
        axis.set_ylabel("Dice in percent")
        axis.grid(axis="y", color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_title(f"{heading}\na point is a scan, a bar the mean over scans", fontsize=10)
        figure.legend(loc="outside lower center", ncols=len(dices), frameon=False, markerscale=1.6)
        with atomic_write(path, "wb") as stream:
            figure.savefig(stream, format="png", metadata={"Software": None})


def _spread(count: int) -> NDArray[np.float64]:
    """Return fixed offsets in -0.3 .. 0.3 that separate points."""
    offsets: NDArray[np.float64] = 0.6 * ((np.arange(count, dtype=np.float64) * 0.6180339887) % 1.0 - 0.5)
    return offsets
