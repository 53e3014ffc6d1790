"""Voxel grids: spacing, origin and axes of a volume, checked where they are read, and compared.

Positions are in mm in the patient's L-P-S frame, as in SimpleITK and DICOM; tuples of spacing are (z,y,x),
all others (x,y,z). `prepare`, `segment` and `score` check every grid here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fewshot.base.errors import UserError, numbers_apart

# Headers round: oblique scans (CHAOS has six) pass through several formats, each of which rounds.
SPACING_TOLERANCE_MM = 1e-3
DIRECTION_TOLERANCE = 1e-3
ORIGIN_TOLERANCE = 0.1  # of a voxel
CONTRADICTION = 1e-2  # relative difference of two spacings in one header
LEAST_TILT = 1e-2  # shift of a slice against the one below, in slice distances: 0.6 degrees
MOST_TILT = 1.0  # 45 degrees; gantries tilt by up to 30
LEAST_SPACING_MM, MOST_SPACING_MM = 1e-2, 1e2
LPS = np.diag([-1.0, -1.0, 1.0])


class Placed(Protocol):
    """Grid of a volume without its voxels: `spacing_mm` (z,y,x), `origin` and `direction` (row by row)."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]: ...
    @property
    def origin(self) -> tuple[float, float, float]: ...
    @property
    def direction(self) -> tuple[float, ...]: ...


@dataclass(frozen=True)
class Grid:
    """A checked grid whose axes are orthogonal.

    `tilted`: whether the file shifts each slice against the one below (gantry tilt); the grid then has the
    true distance of the slices and no shift. `warnings`: what a person should check, one line each.
    """

    spacing_mm: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]
    tilted: bool = False
    warnings: tuple[str, ...] = ()


def grid_of_affine(path: Path, affine: NDArray[np.float64], pixdim: tuple[float, float, float]) -> Grid:
    """Return the grid of a NIfTI affine.

    Args:
        path: the file, for messages.
        affine: (4,4), from voxel (x,y,z) to mm in the R-A-S frame of NIfTI.
        pixdim: spacing (x,y,z) in mm that the header gives beside the affine.

    Raises:
        UserError: a spacing is not from 0.01 to 100 mm; the affine is not finite, is singular, has rows and
            columns that are not at right angles, tilts slices by more than 45 degrees, or contradicts
            `pixdim`.
    """
    columns = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all():
        raise UserError(f"{path}: its affine holds values that are not finite; mend its header")
    check_spacing(path, pixdim[::-1])
    if not columns.all():
        raise UserError(f"{path}: its affine is singular (an axis has length 0); mend its header")
    axes = affine[:3, :3] / columns
    normal = np.cross(axes[:, 0], axes[:, 1])
    sine = float(np.linalg.norm(normal))
    cosine = float(normal @ axes[:, 2]) / sine if sine else 0.0
    if sine < 1e-3 or abs(cosine) < 1e-3:
        raise UserError(f"{path}: its affine is singular (two axes are parallel); mend its header")
    if abs(float(axes[:, 0] @ axes[:, 1])) > LEAST_TILT:
        angle = math.degrees(math.acos(axes[:, 0] @ axes[:, 1]))
        raise UserError(
            f"{path}: rows and columns are at {angle:.1f} degrees, expected 90; resample the volume onto "
            "orthogonal axes"
        )
    shift = math.sqrt(max(0.0, 1 - cosine * cosine)) / abs(cosine)
    tilted = shift > LEAST_TILT
    if shift > MOST_TILT:
        raise UserError(
            f"{path}: slices are tilted by {math.degrees(math.atan(shift)):.0f} degrees, expected 45 or "
            "less; mend its affine, or resample the volume onto orthogonal axes"
        )
    found = columns.copy()
    if tilted and abs(columns[2] / pixdim[2] - 1) > CONTRADICTION:
        found[2] *= abs(cosine)  # a writer may give the distance of the slices as pixdim
    if np.abs(found / pixdim - 1).max() > CONTRADICTION:
        a, b = numbers_apart(tuple(found[::-1]), tuple(pixdim[::-1]))
        raise UserError(
            f"{path}: its affine gives spacing {a} mm (z,y,x), its pixdim {b}; expected the same, mend its "
            "header"
        )
    if not tilted:
        x, y, z = pixdim
        return Grid((z, y, x), _lps(affine[:3, 3]), _flat(LPS @ axes))
    distance = float(columns[2] * abs(cosine))
    axes[:, 2] = normal / sine * math.copysign(1.0, cosine)
    return Grid(
        (distance, pixdim[1], pixdim[0]),
        _lps(affine[:3, 3]),
        _flat(LPS @ axes),
        tilted=True,
        warnings=(tilt_warning(shift, distance),),
    )


def check_spacing(path: Path, spacing_mm: tuple[float, ...]) -> None:
    """Raise `UserError` if a spacing (z,y,x) is not from 0.01 to 100 mm."""
    for axis, size in zip("zyx", spacing_mm, strict=True):
        if not LEAST_SPACING_MM <= size <= MOST_SPACING_MM:
            raise UserError(
                f"{path}: header gives spacing {size:.6g} mm along {axis}, expected {LEAST_SPACING_MM:g} to "
                f"{MOST_SPACING_MM:g} mm; mend its spacing or its unit"
            )


def tilt_warning(shift: float, distance_mm: float) -> str:
    """Return the warning on slices that are each shifted by `shift` of their distance."""
    return (
        f"slices are tilted by {math.degrees(math.atan(shift)):.1f} degrees (gantry tilt) and lie "
        f"{distance_mm:.4g} mm apart; each slice is shifted against the next, which is not undone"
    )


def affine_of(grid: Placed) -> NDArray[np.float64]:
    """Return the NIfTI affine (4,4) of a grid, from voxel (x,y,z) to mm in the R-A-S frame."""
    affine = np.eye(4)
    direction = np.asarray(grid.direction, dtype=np.float64).reshape(3, 3)
    affine[:3, :3] = LPS @ direction * np.asarray(grid.spacing_mm[::-1])
    affine[:3, 3] = LPS @ np.asarray(grid.origin, dtype=np.float64)
    return affine


def grid_difference(grid: Placed, expected: Placed) -> str | None:
    """Return the first difference of two grids beyond rounding, as "KIND FOUND, expected EXPECTED"; or None.

    Spacings may differ by 0.001 mm, entries of the direction by 0.001, origins by a tenth of a voxel.
    """
    if not np.allclose(grid.spacing_mm, expected.spacing_mm, rtol=0, atol=SPACING_TOLERANCE_MM):
        a, b = numbers_apart(grid.spacing_mm, expected.spacing_mm)
        return f"spacing {a} mm (z,y,x), expected {b}"
    if not np.allclose(grid.direction, expected.direction, rtol=0, atol=DIRECTION_TOLERANCE):
        a, b = numbers_apart(grid.direction, expected.direction)
        return f"direction {a}, expected {b}"
    axes = np.reshape(expected.direction, (3, 3))
    offset = axes.T @ np.subtract(grid.origin, expected.origin) / expected.spacing_mm[::-1]
    if np.abs(offset).max() > ORIGIN_TOLERANCE:
        a, b = numbers_apart(grid.origin, expected.origin)
        return f"origin {a} mm (x,y,z), expected {b}"
    return None


def onto_axes(array: NDArray[Any], grid: Placed, axes: Placed) -> tuple[NDArray[Any], Grid]:
    """Return the voxels (Z,Y,X) with their axes in the order and sense of `axes`, and their grid.

    Only flips and exchanges axes, so no value changes. A grid whose axes are not those of `axes`, beyond
    order and sense, is returned as it is.
    """
    own, other = (np.reshape(each.direction, (3, 3)) for each in (grid, axes))
    turn = other.T @ own  # column j: the own axis j along the other axes
    order = np.abs(turn).argmax(axis=1)
    signs = np.sign(turn[np.arange(3), order])
    exact = np.zeros((3, 3))
    exact[np.arange(3), order] = signs
    same = Grid(grid.spacing_mm, grid.origin, grid.direction)
    if sorted(order) != [0, 1, 2] or not np.allclose(turn, exact, rtol=0, atol=10 * DIRECTION_TOLERANCE):
        return array, same
    spacing = np.asarray(grid.spacing_mm[::-1])
    sizes = np.asarray(array.shape[::-1])
    origin = np.asarray(grid.origin, dtype=np.float64)
    for axis, sign in zip(order, signs, strict=True):
        if sign < 0:
            origin = origin + own[:, axis] * spacing[axis] * (sizes[axis] - 1)
    turned = array.transpose([2 - int(order[2 - axis]) for axis in range(3)])
    turned = np.flip(turned, tuple(2 - axis for axis in range(3) if signs[axis] < 0))
    x, y, z = (float(spacing[axis]) for axis in order)
    return np.ascontiguousarray(turned), replace(
        same,
        spacing_mm=(z, y, x),
        origin=(float(origin[0]), float(origin[1]), float(origin[2])),
        direction=_flat(own[:, order] * signs),
    )


def _lps(position: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in LPS @ position)
    return x, y, z


def _flat(matrix: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(value) for value in matrix.ravel())
