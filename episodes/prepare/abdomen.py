"""Preparation of abdominal scans as in SSL-ALPNet: clipping, resampling, cropping; and its inverse for masks.

Each function returns a new volume with the origin of its first voxel, so that the inverse `back_to` is a
resampling between two grids.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from episodes.io.nifti import NiftiImage, after_step
from episodes.io.original_grid import CropPad
from episodes.io.simpleitk_io import resample, resample_onto
from episodes.prepare.crop_pad import centred
from fewshot.base.errors import UserError

MR_SPACING_MM = (7.70, 1.25, 1.25)  # (z,y,x)
MR_SIZE = 256
MR_PERCENTILE = 99.5
CT_WINDOW = (-125, 275)  # Hounsfield units
CT_BORDER = 32
CT_ZOOM = 1.75


def prepare_mr(image: NiftiImage) -> NiftiImage:
    """Return an MR image clipped at its 99.5th percentile, at 1.25 x 1.25 x 7.70 mm, 256 x 256 in plane.

    The dtype is unchanged, also during resampling. Slices are cropped about their centre, or padded with the
    minimum of the volume.
    """
    array = image.array.copy()
    cut = np.percentile(array, MR_PERCENTILE)
    array[array > cut] = cut
    small = _resample_by_spacing(replace(image, array=array), MR_SPACING_MM)
    return centred(small, MR_SIZE, small.array.min())


def prepare_mr_label(label: NiftiImage, values: Iterable[int]) -> NiftiImage:
    """Return a label on the grid of `prepare_mr`, uint8; values outside `values` become 0."""
    return centred(_resample_classes(label, values, MR_SPACING_MM), MR_SIZE, 0)


def prepare_ct(image: NiftiImage) -> NiftiImage:
    """Return a CT image clipped to -125..275, scaled to 0..255, without its border and downsampled; float64.

    The pixel size grows by the factor 1.75. Raises `UserError` for slices no larger than the border and for
    an image with a single value.
    """
    clipped = np.clip(image.array, *CT_WINDOW).astype(np.float64)
    low, high = clipped.min(), clipped.max()
    if low == high:
        raise UserError(
            f"{image.path}: every voxel is {low:g} after clipping to {CT_WINDOW[0]}..{CT_WINDOW[1]}; "
            "expected a CT in Hounsfield units, check the download"
        )
    inner = _without_border(replace(image, array=(clipped - low) / (high - low) * 255.0))
    return _resample_by_spacing(inner, _ct_spacing(image))


def prepare_ct_label(label: NiftiImage, values: Iterable[int]) -> NiftiImage:
    """Return a label on the grid of `prepare_ct`, uint8; values outside `values` become 0."""
    return _resample_classes(_without_border(label), values, _ct_spacing(label))


def back_to(reference: NiftiImage, mask: NiftiImage) -> NDArray[np.bool_]:
    """Return `mask` (0 and 1, on any grid) on the grid of `reference`, bool (Z,Y,X).

    Interpolates the 0/1 map linearly and thresholds it at one half; voxels outside the mask's grid are False.
    """
    share = resample_onto(replace(mask, array=(mask.array != 0).astype(np.float32)), reference).array
    restored: NDArray[np.bool_] = share > 0.5
    return restored


def _resample_by_spacing(volume: NiftiImage, spacing_mm: tuple[float, float, float]) -> NiftiImage:
    depth, height, width = (
        int(count * before / after + 1)
        for count, before, after in zip(volume.array.shape, volume.spacing_mm, spacing_mm, strict=True)
    )
    return resample(volume, spacing_mm, (depth, height, width))


def _resample_classes(
    label: NiftiImage, values: Iterable[int], spacing_mm: tuple[float, float, float]
) -> NiftiImage:
    """Resample each value as a float32 0/1 map and round half to even."""
    merged: NiftiImage | None = None
    for value in values:
        share = _resample_by_spacing(
            replace(label, array=(label.array == value).astype(np.float32)), spacing_mm
        )
        merged = (
            replace(share, array=np.zeros(share.array.shape, dtype=np.uint8)) if merged is None else merged
        )
        merged.array[np.rint(share.array) == 1] = value
    if merged is None:
        raise ValueError("no label values given")
    return merged


def _ct_spacing(volume: NiftiImage) -> tuple[float, float, float]:
    z, y, x = volume.spacing_mm
    return z, y * CT_ZOOM, x * CT_ZOOM


def _without_border(volume: NiftiImage) -> NiftiImage:
    if min(volume.array.shape[1:]) <= 2 * CT_BORDER:
        raise UserError(
            f"{volume.path} has slices of {volume.array.shape[1]} x {volume.array.shape[2]} pixels, expected "
            f"more than the border of {CT_BORDER} on each side that is cut; give the CT as downloaded"
        )
    inner = np.ascontiguousarray(volume.array[:, CT_BORDER:-CT_BORDER, CT_BORDER:-CT_BORDER])
    (depth, height, width), (_, inner_height, inner_width) = volume.array.shape, inner.shape
    step = CropPad((depth, height, width), (depth, inner_height, inner_width), (0, CT_BORDER, CT_BORDER))
    origin = _shifted_origin(volume, CT_BORDER, CT_BORDER)
    return after_step(volume, step, array=inner, origin=origin)


def _shifted_origin(volume: NiftiImage, rows: int, columns: int) -> tuple[float, float, float]:
    """Return the position (x,y,z) in mm of the voxel `rows` down and `columns` right of the first one."""
    _, y, x = volume.spacing_mm
    step = np.asarray(volume.direction).reshape(3, 3) @ np.array([columns * x, rows * y, 0.0])
    shifted = np.asarray(volume.origin) + step
    return float(shifted[0]), float(shifted[1]), float(shifted[2])
