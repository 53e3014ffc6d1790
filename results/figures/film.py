"""Film of segmented slices: an animated GIF, a frame for each slice."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import matplotlib
from matplotlib.animation import PillowWriter
from matplotlib.figure import Figure

from fewshot.files.atomic_io import atomic_write
from results.figures.overlay import Panel, draw_part

FRAMES_A_SECOND = 2
DPI = 80  # pixels an inch
SIDE = 2.8  # inches of a picture
NAMES = ("query", "truth", "prediction")


def draw_film(heading: str, panels: Iterable[Panel], path: Path, *, heat: bool = False) -> None:
    """Write a GIF with a frame for each panel: query, truth, prediction.

    The same panels give the same bytes.

    Args:
        heading: over every frame; the panel's title stands below it.
        panels: made one after the other, so that a long film needs no memory for its slices.
        path: the GIF.
        heat: whether the panels have heat-maps, which are a fourth picture.
    """
    names = (*NAMES, "heat-maps") if heat else NAMES
    writer = PillowWriter(fps=FRAMES_A_SECOND)
    with (
        tempfile.TemporaryDirectory(prefix="film-") as folder,
        matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 8}),
    ):
        file = Path(folder) / "film.gif"
        figure = Figure(figsize=(SIDE * len(names), SIDE + 0.9), dpi=DPI)
        writer.setup(figure, file, DPI)
        for panel in panels:
            figure.clear()
            figure.subplots_adjust(left=0.01, right=0.99, bottom=0.08, top=0.76, wspace=0.03)
            for axis, name in zip(figure.subplots(1, len(names)), names, strict=True):
                draw_part(axis, panel, name)
                axis.set_title(name, fontsize=9)
            figure.suptitle(f"{heading}\n{panel.title}", fontsize=10)
            writer.grab_frame()
        writer.finish()
        with atomic_write(path, "wb") as stream:
            stream.write(file.read_bytes())
