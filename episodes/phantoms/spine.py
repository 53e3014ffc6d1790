"""Phantom of a spine: the middle sagittal slice of a curved column of 5 to 11 discs, some of them missing.

A row of vertebrae with a disc between each two, a bright canal behind them and fat behind that. A fused level
has no disc and no point. Above the first and below the last disc the column is bone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from episodes.phantoms.shapes import Field, generator_for, smooth_noise

SPINE = "phantom-spine"
FIELD_OF_VIEW_MM = 256.0
SLICE_MM = 6.0
LEAST, MOST = 5, 11  # discs
MISSING = 0.3  # chance that a level between the first and the last is fused
GROWTH = 1.03  # distance of two discs over that of the two above
DISC_VARIANCE = 5.0  # square pixels; a disc's mask is where the bell of this variance is above one half


@dataclass(frozen=True)
class SpinePicture:
    """Image int16 and labels uint8 (1,size,size), and the discs' centres (z,y,x) in voxels by name."""

    image: NDArray[np.int16]
    labels: NDArray[np.uint8]
    points: dict[str, tuple[float, float, float]]


@dataclass(frozen=True)
class _Column:
    """A column in mm: the centres of its levels (L,2) as (y,x), and its bend."""

    levels: NDArray[np.float64]
    bend: tuple[float, float, float, float]  # offset, slope, amplitude and phase of x as a function of y

    def x_at(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the column's x in mm at heights y in mm."""
        offset, slope, amplitude, phase = self.bend
        unit = y / FIELD_OF_VIEW_MM
        x: NDArray[np.float64] = offset + slope * unit + amplitude * np.sin(2 * math.pi * unit + phase)
        return x

    def tilt_at(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the angle of the column against the vertical at heights y in mm."""
        tilt: NDArray[np.float64] = np.arctan(self.x_at(y + 0.5) - self.x_at(y - 0.5))
        return tilt


def spine_picture(size: int, version: int, scan: str) -> SpinePicture:
    """Return one phantom; it depends only on the arguments. Pixels are 256 mm / size a side."""
    draw = generator_for(SPINE, version, scan)
    column, fused = _column(draw)
    pixel = FIELD_OF_VIEW_MM / size
    y, x = (np.mgrid[:size, :size] + 0.5) * pixel
    image = _tissues(y, x, column, fused, draw)
    image *= np.exp(0.25 * smooth_noise(draw, (1, size, size), (1, 3, 3))[0].astype(np.float64))
    noise = draw.standard_normal((2, size, size)) * 22
    scanned = np.clip(np.rint(np.hypot(image + noise[0], noise[1])), 0, 2000).astype(np.int16)
    places: dict[str, tuple[float, float, float]] = {}
    for level, (height, middle) in enumerate(column.levels):
        if level not in fused:
            places[f"disc-{level + 1}"] = (0.0, float(height) / pixel - 0.5, float(middle) / pixel - 0.5)
    return SpinePicture(scanned[None], disc_masks(places.values(), (1, size, size)), places)


def disc_masks(
    points: Iterable[tuple[float, float, float]], shape: tuple[int, int, int], value: int = 1
) -> NDArray[np.uint8]:
    """Return labels (Z,H,W): `value` within 2.63 pixels of a point (z,y,x), in its slice, else 0."""
    labels = np.zeros(shape, dtype=np.uint8)
    rows, columns = np.ogrid[: shape[1], : shape[2]]
    for z, y, x in points:
        near = (rows - y) ** 2 + (columns - x) ** 2 < 2 * DISC_VARIANCE * math.log(2)
        labels[round(z)][near] = value
    return labels


def _column(draw: np.random.Generator) -> tuple[_Column, set[int]]:
    """Draw a column and its fused levels; at least `LEAST` levels keep their disc."""
    number = int(draw.integers(LEAST, MOST + 1))
    inner = [level for level in range(1, number - 1) if draw.uniform() < MISSING / 2]
    fused = set(inner[: number - LEAST][:2])
    step = draw.uniform(14.5, 19.0)
    gaps = step * GROWTH ** np.arange(number - 1)
    room = 0.86 * FIELD_OF_VIEW_MM
    gaps *= min(1.0, room / gaps.sum())
    top = draw.uniform(0.06, 0.94 - gaps.sum() / FIELD_OF_VIEW_MM) * FIELD_OF_VIEW_MM
    heights = top + np.concatenate([[0.0], np.cumsum(gaps)])
    bend = (
        draw.uniform(0.40, 0.60) * FIELD_OF_VIEW_MM, draw.uniform(-30, 30), draw.uniform(4, 14),
        draw.uniform(0, 2 * math.pi),
    )  # fmt: skip
    column = _Column(np.zeros((0, 2)), bend)
    return _Column(np.stack([heights, column.x_at(heights)], axis=1), bend), fused


def _tissues(
    y: NDArray[np.float64], x: NDArray[np.float64], column: _Column, fused: set[int],
    draw: np.random.Generator,
) -> Field:  # fmt: skip
    """Return grey values of body, vertebrae, discs, canal and fat at pixels (y,x) in mm."""
    size = y.shape[0]
    grain = smooth_noise(draw, (1, size, size), (1, 24, 24))[0]
    across = (x - column.x_at(y)) * np.cos(column.tilt_at(y))  # mm from the column's middle line
    width = draw.uniform(9.0, 11.5)
    canal = width + draw.uniform(5.0, 7.0)
    image = 170 * (1 + 0.10 * grain)
    image = _blend(image, 330 * (1 + 0.05 * grain), 2.5 - np.abs(across - canal - 16 + 3 * grain) / 4)
    image = _blend(image, draw.uniform(360, 460), (5.0 - np.abs(across - canal)) / 1.5)
    image = _blend(image, 190.0, (2.4 - np.abs(across - canal)) / 1.2)
    image = _blend(image, 260 * (1 + 0.08 * grain), (width - np.abs(across)) / 1.5)
    for level, (height, middle) in enumerate(column.levels):
        grey = draw.uniform(60, 110) if draw.uniform() < 0.35 else draw.uniform(370, 470)
        thick = draw.uniform(2.4, 3.4)
        tilt = float(column.tilt_at(np.array([height]))[0]) + draw.uniform(-0.12, 0.12)
        if level in fused:
            continue
        along = (x - middle) * math.cos(tilt) - (y - height) * math.sin(tilt)
        up = (x - middle) * math.sin(tilt) + (y - height) * math.cos(tilt)
        shape = 1 - np.hypot(along / width, up / (thick + 1.6))
        image = _blend(image, 60.0, shape * 4)  # the dark ring of end plates
        image = _blend(image, grey, (1 - np.hypot(along / width, up / thick)) * 4)
    softened: Field = image.astype(np.float32)
    return softened


def _blend(
    image: NDArray[np.float64], grey: float | NDArray[np.float64], inside: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the image with a tissue of `grey` where `inside` is positive, with a soft edge."""
    share = np.clip(0.5 + inside, 0, 1)
    return image * (1 - share) + grey * share
