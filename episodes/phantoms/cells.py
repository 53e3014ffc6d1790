"""Phantom pictures of cells with a sentence: two populations of which the sentence names one, or one alone.

In "phantom-cells" bright and dark cells lie on every picture and the mask is that of the population in the
sentence, so nothing but the sentence decides. In "phantom-cells-alone" a picture has the named population
alone, so the picture decides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from episodes.phantoms.shapes import Field, generator_for, smooth_noise

CELLS, CELLS_ALONE = "phantom-cells", "phantom-cells-alone"
POPULATIONS = {"bright": 205.0, "dark": 55.0}  # grey of a cell
GROUND = 130.0
COUNT = 5  # cells of a population
MARGIN = 0.14  # of the side, between the border and a cell's centre
RADII = (0.07, 0.12)  # of the side
TRIES = 200


def cell_picture(
    name: str, size: int, version: int, scan: str
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], str]:
    """Return the picture and the mask of one scan, (1,size,size) uint8 each, and its sentence.

    All depend only on the arguments.
    """
    draw = generator_for(name, version, scan)
    named = str(draw.choice(list(POPULATIONS)))
    shown = tuple(POPULATIONS) if name == CELLS else (named,)
    y, x = (np.mgrid[:size, :size].astype(np.float32) + 0.5) / size
    picture = GROUND + 8 * smooth_noise(draw, (1, size, size), (1, 3, 3))[0]
    mask = np.zeros((size, size), dtype=bool)
    for population, inside in _places(x, y, draw, shown):
        picture[inside] = POPULATIONS[population] + draw.uniform(-12, 12)
        mask |= inside & (population == named)
    picture = picture + 6 * draw.standard_normal(picture.shape)
    image = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return image[None], mask.astype(np.uint8)[None], f"The {named} cells are marked."


def _places(
    x: Field, y: Field, draw: np.random.Generator, shown: tuple[str, ...]
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return population and pixels of each cell; cells do not touch."""
    cells: list[tuple[str, NDArray[np.bool_]]] = []
    taken: list[tuple[float, float, float]] = []
    for _try in range(TRIES):
        if len(cells) == COUNT * len(shown):
            break
        across, down = draw.uniform(MARGIN, 1 - MARGIN, 2)
        radius = draw.uniform(*RADII)
        if any(np.hypot(across - u, down - v) < radius + r + 0.02 for u, v, r in taken):
            continue
        taken.append((across, down, radius))
        inside: NDArray[np.bool_] = np.hypot(x - across, y - down) < radius
        cells.append((shown[len(cells) % len(shown)], inside))
    return cells
