"""Geometry of phantoms: warped body coordinates, shapes with soft edges, and painting of tissues.

Body coordinates: x to the subject's left, y from back to front, both -1 .. 1 at the skin; z from 0 at the
lowest slice to 1 at the highest. A shape is a field that is positive inside, about 1 at its centre.

Every processor must make the same phantoms. numpy has code of its own for several of them, whose
exponentials, powers and angles differ in the last bit. So these are computed in float64 and rounded after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fewshot.base.seeds import seed_for

Field = NDArray[np.float32]
SUBSLICES = 2  # thin slices averaged into one slice, for partial volume through the plane
EDGE_PX = 1.4  # width of the transition between two tissues within the plane


def generator_for(*names: str | int) -> np.random.Generator:
    """Return a generator that depends only on `names`, not on earlier draws."""
    return np.random.Generator(np.random.PCG64(seed_for("phantom", *names)))


def smooth_noise(draw: np.random.Generator, shape: tuple[int, int, int], coarse: Sequence[int]) -> Field:
    """Draw a smooth field (Z,Y,X), about N(0,1): cubic interpolation of normals on the grid `coarse`.

    The weights of a voxel are products of those along the axes, so the axes are interpolated one by one.
    """
    values = draw.standard_normal(tuple(coarse)).astype(np.float32)
    deep, high, wide = (_cubic_weights(*pair) for pair in zip(coarse, shape, strict=True))
    rows = high @ (values.astype(np.float64) @ wide.T)
    fine: Field = np.tensordot(deep, rows, axes=1).astype(np.float32)
    return fine


@cache
def _cubic_weights(cells: int, length: int) -> NDArray[np.float64]:
    """Return the weight (length, cells) of each cell of a line in each of its `length` voxels."""
    lines = [
        ndimage.zoom(line, length / cells, order=3, mode="nearest", grid_mode=True) for line in np.eye(cells)
    ]
    weights: NDArray[np.float64] = np.stack(lines, axis=1)
    return weights


@dataclass(frozen=True)
class Frame:
    """Body coordinates x, y and z, each (Z,Y,X), of every voxel of one subject.

    `pixels`: pixels per unit of body coordinates, in the direction with fewer.
    """

    x: Field
    y: Field
    z: Field
    pixels: float


@dataclass(frozen=True)
class Pose:
    """Position of a subject in the image.

    `half`, `shift`: half sizes and offset (x,y), as fractions of half the image; `turn`: rotation in radians;
    `rise`, `stretch`: offset and scale along the body; `warp`: amplitude of the smooth deformation.
    """

    half: tuple[float, float]
    shift: tuple[float, float]
    turn: float
    rise: float
    stretch: float
    warp: float


@dataclass(frozen=True)
class PoseRanges:
    """Ranges of the poses of one kind of phantom.

    `width`: half size along x; `aspect`: half size along y divided by that along x; `across`, `up`, `turn`,
    `rise`: largest absolute values of the shift (x,y), the rotation and the offset; `stretch`; `warp`: fixed.
    """

    width: tuple[float, float]
    aspect: tuple[float, float]
    across: float
    up: float
    turn: float
    rise: float
    stretch: tuple[float, float]
    warp: float

    def draw(self, draw: np.random.Generator) -> Pose:
        """Draw size, shift and rotation of a subject, and the part of the body that the slices cover."""
        width = draw.uniform(*self.width)
        return Pose(
            half=(width, width * draw.uniform(*self.aspect)),
            shift=(draw.uniform(-self.across, self.across), draw.uniform(-self.up, self.up)),
            turn=draw.uniform(-self.turn, self.turn),
            rise=draw.uniform(-self.rise, self.rise),
            stretch=draw.uniform(*self.stretch),
            warp=self.warp,
        )


def frame_of(pose: Pose, depth: int, size: int, draw: np.random.Generator) -> Frame:
    """Return the smoothly deformed body coordinates of an image of (depth, size, size) voxels."""
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
    """Return a (super-)ellipsoid as a field (Z,Y,X), positive inside and 1 at its centre.

    Args:
        frame: body coordinates.
        centre: (x,y,z) in body coordinates.
        radii: half axes; `inf` along z gives a cylinder.
        tilt: rotation within the plane, in radians.
        power: exponent; 2 gives an ellipsoid.
    """
    dx, dy = frame.x - np.float32(centre[0]), frame.y - np.float32(centre[1])
    cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    along, beside = (cos * dx + sin * dy) / radii[0], (cos * dy - sin * dx) / radii[1]
    total = _power(along, power) + _power(beside, power)
    if np.isfinite(radii[2]):
        total = total + _power((frame.z - np.float32(centre[2])) / radii[2], power)
    shape: Field = (1 - total ** (1 / power)).astype(np.float32)
    return shape


def _power(length: NDArray[np.floating[Any]], power: float) -> NDArray[np.float64]:
    raised: NDArray[np.float64] = np.abs(length.astype(np.float64)) ** power
    return raised


@dataclass
class Canvas:
    """An image painted tissue by tissue, and the fraction of each voxel that belongs to each class.

    `grey`: tissue -> grey value; `texture`: tissue -> relative deviation (Z,Y,X); `image`: grey values
    (Z,Y,X); `share`: class -> fraction (Z,Y,X).
    """

    frame: Frame
    grey: Mapping[str, float]
    texture: Mapping[str, Field]
    image: Field
    share: dict[str, Field] = field(default_factory=dict)

    def paint(self, tissue: str, shape: Field, radius: float, owner: str | None = None) -> None:
        """Paint `tissue` where the field `shape` is positive.

        Args:
            tissue: name of the tissue.
            shape: field (Z,Y,X), positive inside.
            radius: size of the shape in body units, which sets the width of its soft edge.
            owner: class that the painted voxels belong to; None: no class.
        """
        alpha = np.clip(0.5 + shape * np.float32(radius * self.frame.pixels / EDGE_PX), 0, 1)
        value = np.float32(self.grey[tissue]) * (1 + self.texture.get(tissue, np.float32(0)))
        self.image += alpha * (value - self.image)
        for name in self.share:
            self.share[name] *= 1 - alpha
        if owner is not None:
            self.share[owner] = self.share.get(owner, np.zeros_like(self.image)) + alpha


def thick_slices(values: Field) -> Field:
    """Average every `SUBSLICES` thin slices: (Z*SUBSLICES,Y,X) -> (Z,Y,X)."""
    depth, height, width = values.shape
    thick: Field = values.reshape(depth // SUBSLICES, SUBSLICES, height, width).mean(axis=1)
    return thick


def labels_of(share: Mapping[str, Field], values: Mapping[str, int]) -> NDArray[np.uint8]:
    """Return labels (Z,Y,X): the value of the class that fills more than half of a voxel, else 0."""
    first = next(iter(share.values()))
    labels = np.zeros((len(first) // SUBSLICES, *first.shape[1:]), dtype=np.uint8)
    for name, part in share.items():
        labels[thick_slices(part) > 0.5] = values[name]
    return labels
