"""Geometry of phantoms: warped body coordinates, soft shapes, and painting one tissue over another.

Body coordinates: x to the subject's left, y from back to front, both -1 .. 1 at the skin; z from 0 at the
lowest slice to 1 at the highest. A shape is a field that is positive inside, about 1 at its centre.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fewshot.base.seeds import seed_for

Field = NDArray[np.float32]
SUBSLICES = 2  # a slice is the mean of this many thinner ones: partial volume through the plane
EDGE_PX = 1.4  # width over which one tissue gives way to the next within the plane


def generator_for(*names: str | int) -> np.random.Generator:
    """Return the generator of a named draw; equal names give equal numbers, whatever was drawn before."""
    return np.random.Generator(np.random.PCG64(seed_for("phantom", *names)))


def smooth_noise(draw: np.random.Generator, shape: tuple[int, int, int], coarse: Sequence[int]) -> Field:
    """Return a smooth random field (Z,Y,X), about N(0,1): a coarse grid of normals, cubic in between."""
    values = draw.standard_normal(tuple(coarse)).astype(np.float32)
    zoom = [wanted / given for wanted, given in zip(shape, coarse, strict=True)]
    fine: Field = ndimage.zoom(values, zoom, order=3, mode="nearest", grid_mode=True)
    return fine


@dataclass(frozen=True)
class Frame:
    """Where one subject's body lies in the picture: coordinates (Z,Y,X) of every voxel in its body.

    `pixels`: pixels per unit of body coordinates, the smaller of both directions.
    """

    x: Field
    y: Field
    z: Field
    pixels: float


@dataclass(frozen=True)
class Pose:
    """How a subject lies in the picture: half sizes and shift as fractions of half the picture, turn in rad.

    `rise`, `stretch`: shift and scale along the body; `warp`: amplitude of the smooth deformation.
    """

    half: tuple[float, float]
    shift: tuple[float, float]
    turn: float
    rise: float
    stretch: float
    warp: float


def frame_of(pose: Pose, depth: int, size: int, draw: np.random.Generator) -> Frame:
    """Return the body coordinates of a picture of (depth, size, size) voxels, smoothly deformed."""
    shape = (depth, size, size)
    ruler = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    z = ((np.arange(depth, dtype=np.float32) + 0.5) / depth)[:, None, None]
    across, up = ruler[None, None, :] - pose.shift[0], ruler[None, :, None] - pose.shift[1]
    cos, sin = np.float32(np.cos(pose.turn)), np.float32(np.sin(pose.turn))
    x = (cos * across + sin * up) / pose.half[0]
    y = (cos * up - sin * across) / pose.half[1]
    moved = [pose.warp * smooth_noise(draw, shape, (3, 4, 4)) for _axis in range(3)]
    return Frame(
        (x + moved[0]).astype(np.float32),
        (y + moved[1]).astype(np.float32),
        ((z - 0.5 - pose.rise) / pose.stretch + 0.5 + 0.5 * moved[2]).astype(np.float32),
        min(pose.half) * size / 2,
    )


def ellipsoid(
    frame: Frame,
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
    tilt: float = 0.0,
    power: float = 2.0,
) -> Field:
    """Return a (super-)ellipsoid in body coordinates, turned in the plane by `tilt` (rad).

    A radius of `inf` along z makes it a cylinder.
    """
    dx, dy = frame.x - np.float32(centre[0]), frame.y - np.float32(centre[1])
    cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    along, beside = (cos * dx + sin * dy) / radii[0], (cos * dy - sin * dx) / radii[1]
    total = np.abs(along) ** power + np.abs(beside) ** power
    if np.isfinite(radii[2]):
        total = total + np.abs((frame.z - np.float32(centre[2])) / radii[2]) ** power
    found: Field = (1 - total ** (1 / power)).astype(np.float32)
    return found


@dataclass
class Canvas:
    """Tissues painted over one another: grey values, and how much of each voxel is of which class."""

    frame: Frame
    grey: Mapping[str, float]
    texture: Mapping[str, Field]
    image: Field
    share: dict[str, Field] = field(default_factory=dict)

    def paint(self, tissue: str, shape: Field, radius: float, owner: str | None = None) -> None:
        """Paint `tissue` where `shape` is positive; `radius` (body units) scales the border's width.

        `owner` names the class that the voxels belong to from now on; None: no class.
        """
        alpha = np.clip(0.5 + shape * np.float32(radius * self.frame.pixels / EDGE_PX), 0, 1)
        value = np.float32(self.grey[tissue]) * (1 + self.texture.get(tissue, np.float32(0)))
        self.image += alpha * (value - self.image)
        for name in self.share:
            self.share[name] *= 1 - alpha
        if owner is not None:
            self.share[owner] = self.share.get(owner, np.zeros_like(self.image)) + alpha


def thick_slices(values: Field) -> Field:
    """Return the mean of every `SUBSLICES` thin slices: (Z*SUBSLICES,Y,X) -> (Z,Y,X)."""
    depth, height, width = values.shape
    thick: Field = values.reshape(depth // SUBSLICES, SUBSLICES, height, width).mean(axis=1)
    return thick


def labels_of(share: Mapping[str, Field], values: Mapping[str, int]) -> NDArray[np.uint8]:
    """Return (Z,Y,X) labels: the class that fills more than half of the voxel, 0 where none does."""
    first = next(iter(share.values()))
    labels = np.zeros((len(first) // SUBSLICES, *first.shape[1:]), dtype=np.uint8)
    for name, part in share.items():
        labels[thick_slices(part) > 0.5] = values[name]
    return labels
