"""The original grid of a prepared scan, and its masks taken from there to the store's slices and back.

Preparation turns, resamples, crops and pads. Each of these is a step with its numbers, so a mask on the
prepared grid can be put back on the voxels of the file. All tuples of axes are (z,y,x).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fewshot.base.errors import UserError

Shape = tuple[int, int, int]
Voxel = TypeVar("Voxel", bound=np.generic)


@dataclass(frozen=True)
class Reorient:
    """Exchange of axes, then flips.

    Axis a of the result is axis `axes[a]` of the input, reversed if `flips[a]`.
    """

    axes: Shape
    flips: tuple[bool, bool, bool]


@dataclass(frozen=True)
class Resample:
    """Resampling along the axes.

    Voxel i of the result lies at i * `scale` + `offset` in voxels of the input. `before`, `after`: shapes.
    """

    before: Shape
    after: Shape
    scale: tuple[float, float, float]
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class CropPad:
    """Cropping and padding: voxel i of the result is voxel i + `start` of the input, or padding.

    `before`, `after`: shapes.
    """

    before: Shape
    after: Shape
    start: Shape


Step = Reorient | Resample | CropPad
STEPS: dict[str, type[Reorient] | type[Resample] | type[CropPad]] = {
    "reorient": Reorient,
    "resample": Resample,
    "crop-pad": CropPad,
}


@dataclass(frozen=True)
class OriginalGrid:
    """The grid of a scan's files and the steps that took it to the prepared grid.

    `image`, `label`: file names without their folder, or the folder of a DICOM series; `suffix`: ending of
    the image, such as .nii.gz, "" for a folder; `shape` and `spacing_mm` (z,y,x); `origin` (x,y,z) in mm and
    `direction`, 3x3 row by row, in the L-P-S frame; `affine`: of a file with tilted slices, its NIfTI affine
    (4x4) row by row, else None; `steps`: in the order in which they were applied.
    """

    image: str
    label: str
    suffix: str
    shape: Shape
    spacing_mm: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]
    affine: tuple[float, ...] | None = None
    steps: tuple[Step, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the grid as plain JSON values; `original_from_json` parses them."""
        names = {kind: name for name, kind in STEPS.items()}
        plain = asdict(self)
        plain["steps"] = [{"step": names[type(step)], **_lists(asdict(step))} for step in self.steps]
        return _lists(plain)


def original_from_json(content: Mapping[str, Any]) -> OriginalGrid:
    """Return the grid that `OriginalGrid.to_json` wrote; `KeyError` or `TypeError` for anything else."""
    plain = {key: _tupled(value) for key, value in content.items() if key != "steps"}
    steps = []
    for entry in content["steps"]:
        fields = {key: _tupled(value) for key, value in entry.items() if key != "step"}
        steps.append(STEPS[entry["step"]](**fields))
    grid = OriginalGrid(**plain, steps=tuple(steps))
    for name, length in (("shape", 3), ("spacing_mm", 3), ("origin", 3), ("direction", 9)):
        if len(getattr(grid, name)) != length:
            raise TypeError(
                f"{name} of an original grid has {len(getattr(grid, name))} numbers, expected {length}"
            )
    return grid


def to_store_grid(mask: NDArray[Voxel], original: OriginalGrid) -> NDArray[Voxel]:
    """Return a mask or label map on the prepared grid, by nearest neighbour, 0 outside the file.

    Args:
        mask: (Z,Y,X) on the grid of the file, bool or class values.
        original: the scan's original grid.

    Raises:
        UserError: the mask has another shape than the file.
    """
    _check_shape(mask.shape, original.shape, original, "the original grid")
    for step in original.steps:
        mask = _forward(mask, step)
    return np.ascontiguousarray(mask)


def to_original_grid(mask: NDArray[Voxel], original: OriginalGrid) -> NDArray[Voxel]:
    """Return a mask or label map on the voxels of the scan's file, by nearest neighbour, 0 where cut off.

    Args:
        mask: (Z,Y,X) on the prepared grid, bool or class values.
        original: the scan's original grid.

    Raises:
        UserError: the mask has another shape than the prepared grid.
    """
    _check_shape(mask.shape, prepared_shape(original), original, "the store's grid")
    for step in reversed(original.steps):
        mask = _backward(mask, step)
    return np.ascontiguousarray(mask)


def mask_to_store_grid(mask: NDArray[np.bool_], original: OriginalGrid) -> NDArray[np.bool_]:
    """Return the mask of one class on the prepared grid, resampled as labels are prepared.

    Resampling interpolates the 0/1 map linearly; a voxel belongs to the class if its share exceeds one half.
    Without resampling the result is that of `to_store_grid`.

    Args:
        mask: (Z,Y,X) bool on the grid of the file.
        original: the scan's original grid.

    Raises:
        UserError: the mask has another shape than the file.
    """
    _check_shape(mask.shape, original.shape, original, "the original grid")
    for step in original.steps:
        if isinstance(step, Resample):
            mask = _majority(mask, [
                np.arange(size) * scale + offset
                for size, scale, offset in zip(step.after, step.scale, step.offset, strict=True)
            ])  # fmt: skip
        else:
            mask = _forward(mask, step)
    return np.ascontiguousarray(mask)


def mask_to_original_grid(mask: NDArray[np.bool_], original: OriginalGrid) -> NDArray[np.bool_]:
    """Return the mask of one class on the voxels of the scan's file, resampled as in `mask_to_store_grid`.

    Args:
        mask: (Z,Y,X) bool on the prepared grid.
        original: the scan's original grid.

    Raises:
        UserError: the mask has another shape than the prepared grid.
    """
    _check_shape(mask.shape, prepared_shape(original), original, "the store's grid")
    for step in reversed(original.steps):
        if isinstance(step, Resample):
            mask = _majority(mask, [
                (np.arange(size) - offset) / scale
                for size, scale, offset in zip(step.before, step.scale, step.offset, strict=True)
            ])  # fmt: skip
        else:
            mask = _backward(mask, step)
    return np.ascontiguousarray(mask)


def is_resampled(original: OriginalGrid) -> bool:
    """Return whether a step resamples, so that a mask changes on its way between the grids."""
    return any(isinstance(step, Resample) for step in original.steps)


def prepared_shape(original: OriginalGrid) -> Shape:
    """Return the shape (z,y,x) after all steps."""
    z, y, x = original.shape
    for step in original.steps:
        if isinstance(step, Reorient):
            z, y, x = (z, y, x)[step.axes[0]], (z, y, x)[step.axes[1]], (z, y, x)[step.axes[2]]
        else:
            z, y, x = step.after
    return z, y, x


def _check_shape(shape: tuple[int, ...], expected: Shape, original: OriginalGrid, what: str) -> None:
    if shape != expected:
        raise UserError(
            f"a mask of {original.image} has shape {shape} (z,y,x), expected {expected} as {what} has; give "
            "the mask of this scan"
        )


def _forward(mask: NDArray[Voxel], step: Step) -> NDArray[Voxel]:
    if isinstance(step, Reorient):
        return np.flip(mask.transpose(step.axes), _flipped(step))
    if isinstance(step, Resample):
        return _nearest(mask, [
            np.arange(size) * scale + offset
            for size, scale, offset in zip(step.after, step.scale, step.offset, strict=True)
        ])  # fmt: skip
    places = [np.arange(size) + start for size, start in zip(step.after, step.start, strict=True)]
    return _nearest(mask, places)


def _backward(mask: NDArray[Voxel], step: Step) -> NDArray[Voxel]:
    if isinstance(step, Reorient):
        return np.flip(mask, _flipped(step)).transpose([step.axes.index(axis) for axis in range(3)])
    if isinstance(step, Resample):
        return _nearest(mask, [
            (np.arange(size) - offset) / scale
            for size, scale, offset in zip(step.before, step.scale, step.offset, strict=True)
        ])  # fmt: skip
    places = [np.arange(size) - start for size, start in zip(step.before, step.start, strict=True)]
    return _nearest(mask, places)


def _flipped(step: Reorient) -> tuple[int, ...]:
    return tuple(axis for axis in range(3) if step.flips[axis])


def _nearest(mask: NDArray[Voxel], places: list[NDArray[Any]]) -> NDArray[Voxel]:
    """Return mask[places], rounded half up along each axis; 0 outside, as ITK's nearest neighbour."""
    for axis, (place, size) in enumerate(zip(places, mask.shape, strict=True)):
        index = np.floor(place + 0.5).astype(np.int64)
        inside = (index >= 0) & (index < size)
        taken = np.take(mask, np.clip(index, 0, size - 1), axis=axis)
        if not inside.all():
            shape = [1, 1, 1]
            shape[axis] = len(inside)
            taken = np.where(inside.reshape(shape), taken, np.zeros((), dtype=mask.dtype))
        mask = taken
    return mask


def _majority(mask: NDArray[np.bool_], places: list[NDArray[Any]]) -> NDArray[np.bool_]:
    """Return where the 0/1 map, interpolated linearly at `places`, exceeds one half.

    Up to half a voxel beyond the border the outermost voxel holds, and 0 further out, as in ITK.
    """
    share = mask.astype(np.float32)
    for axis, (place, size) in enumerate(zip(places, mask.shape, strict=True)):
        lower = np.floor(place)
        below, above = (np.clip(lower + more, 0, size - 1).astype(np.int64) for more in (0, 1))
        weight = (place - lower).astype(np.float32)
        weight[(place < -0.5) | (place >= size - 0.5)] = np.nan  # outside: no share exceeds one half
        weight = weight.reshape([-1 if each == axis else 1 for each in range(3)])
        first = np.take(share, below, axis=axis)
        share = first + weight * (np.take(share, above, axis=axis) - first)
    inside: NDArray[np.bool_] = share > 0.5
    return inside


def _lists(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in table.items()}


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
