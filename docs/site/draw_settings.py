"""Draws docs/settings.svg: what training may show in either setting, and what the test segments."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, FancyArrowPatch, Rectangle

from fewshot.files.atomic_io import atomic_write

PICTURE = Path(__file__).resolve().parent.parent / "settings.svg"
BODY, GREY, TESTED, MASK = "#d9d9d9", "#8c8c8c", "#d55e00", "#0072b2"
# organ -> centre, width and height in a slice of 1 x 1; the liver stands for the tested classes
ORGANS = {
    "liver": (0.34, 0.58, 0.32, 0.30),
    "spleen": (0.76, 0.56, 0.16, 0.20),
    "right kidney": (0.34, 0.30, 0.13, 0.17),
    "left kidney": (0.66, 0.30, 0.13, 0.17),
}
# the slices of the training scans, from the lowest: the organs that each shows
TRAINING = (("right kidney", "left kidney"), ("liver", "right kidney", "left kidney"), ("liver", "spleen"))


def main(path: Path = PICTURE) -> int:
    """Draw and write the picture; return 0."""
    settings = {"font.family": "DejaVu Sans", "svg.hashsalt": "fewshot", "svg.fonttype": "path"}
    with matplotlib.rc_context(settings):  # type: ignore[arg-type]
        figure = Figure(figsize=(10.0, 4.3))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, 10.0), ylim=(0, 4.3))
        axes.axis("off")
        _headings(axes)
        _setting(axes, 1, 2.2, hidden=())
        _setting(axes, 2, 0.35, hidden=(1, 2))
        _test(axes)
        with atomic_write(path, "wb") as stream:
            figure.savefig(stream, format="svg", metadata={"Date": None})
    return 0


def _headings(axes: Axes) -> None:
    axes.text(3.05, 3.95, "training: slices of the training folds, no mask", ha="center", size=11)
    axes.text(8.0, 3.95, "test: scans of the held-out fold", ha="center", size=11)
    axes.plot([5.75, 5.75], [0.3, 3.9], color=GREY, linewidth=0.8)


def _setting(axes: Axes, number: int, bottom: float, hidden: tuple[int, ...]) -> None:
    """Draw the training slices of one setting; `hidden` numbers those that training may not see."""
    axes.text(0.2, bottom + 0.9, f"setting {number}", size=13, weight="bold")
    lines = {1: "the tested class\nmay be visible", 2: "no slice shows\nthe tested class"}
    axes.text(0.2, bottom + 0.3, lines[number], size=9)
    for place, organs in enumerate(TRAINING):
        left = 1.55 + 1.4 * place
        _slice(axes, left, bottom, 1.25, organs, faded=place in hidden)
        if place in hidden:
            for ends in ((0.0, 1.25), (1.25, 0.0)):
                axes.plot(
                    [left, left + 1.25], [bottom + ends[0], bottom + ends[1]], color="black", linewidth=1.2
                )


def _test(axes: Axes) -> None:
    """Draw support and query of the tested class and the arrow between them."""
    everything = tuple(ORGANS)
    _slice(axes, 6.05, 1.5, 1.6, everything, mask=True)
    _slice(axes, 8.3, 1.5, 1.6, everything)
    arrow = FancyArrowPatch((7.7, 2.3), (8.25, 2.3), arrowstyle="-|>", mutation_scale=16, color="black")
    axes.add_patch(arrow)
    axes.text(6.85, 3.25, "support", ha="center", size=10)
    axes.text(9.1, 3.25, "query", ha="center", size=10)
    axes.text(6.85, 1.1, "one annotated scan:\nthe mask of the class", ha="center", va="top", size=9)
    axes.text(9.1, 1.1, "every other scan:\nthe class is predicted", ha="center", va="top", size=9)
    axes.text(8.0, 0.35, "The same in both settings.", ha="center", size=9, style="italic")


def _slice(
    axes: Axes, left: float, bottom: float, side: float, organs: tuple[str, ...], *, mask: bool = False,
    faded: bool = False,
) -> None:  # fmt: skip
    """Draw one slice: the body, its organs and the tested class in colour; `mask` adds its outline."""
    alpha = 0.25 if faded else 1.0
    axes.add_patch(Rectangle((left, bottom), side, side, color="#202020", alpha=alpha, linewidth=0))
    centre = (left + 0.5 * side, bottom + 0.46 * side)
    axes.add_patch(Ellipse(centre, 0.9 * side, 0.72 * side, color=BODY, alpha=alpha, linewidth=0))
    for name in organs:
        x, y, width, height = ORGANS[name]
        colour = TESTED if name == "liver" else GREY
        place = (left + x * side, bottom + (y - 0.02) * side)
        outline = {"edgecolor": MASK, "linewidth": 3.0} if mask and name == "liver" else {"linewidth": 0}
        axes.add_patch(
            Ellipse(place, width * side, height * side, facecolor=colour, alpha=alpha, **outline)  # type: ignore[arg-type]
        )


if __name__ == "__main__":
    sys.exit(main())
