"""Crop or pad slices to a square about their centre, without resampling."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from episodes.io.nifti import NiftiImage, after_step
from episodes.io.original_grid import CropPad
from episodes.prepare.scan import PreparedPair


def square_pair(pair: PreparedPair, size: int) -> PreparedPair:
    """Return the pair cropped or padded in plane to `size` x `size` about the centre.

    An even difference is divided equally between the sides. For an odd difference the extra pixel is cropped
    at the end, or padded at the beginning. Padding is the minimum of the volume in the image and 0 in the
    label. Origins move with the first pixel, so that masks can be resampled to the original grid.
    """
    label = centred(pair.label, size, 0)
    return replace(
        pair,
        image=centred(pair.image, size, pair.image.array.min()),
        label=label,
        cut_off=int(np.count_nonzero(pair.label.array) - np.count_nonzero(label.array)),
    )


def centred(volume: NiftiImage, size: int, fill: Any) -> NiftiImage:
    """Return a volume (Z,H,W) cropped or padded to (Z,size,size) about its centre; padding is `fill`."""
    depth, height, width = volume.array.shape
    top, left = (height - size) // 2, (width - size) // 2
    array = np.full((depth, size, size), fill, dtype=volume.array.dtype)
    (from_y, to_y), (from_x, to_x) = _overlap(height, top, size), _overlap(width, left, size)
    array[:, to_y, to_x] = volume.array[:, from_y, from_x]
    _, y, x = volume.spacing_mm
    step = np.asarray(volume.direction).reshape(3, 3) @ np.array([left * x, top * y, 0.0])
    origin = np.asarray(volume.origin) + step
    step = CropPad((depth, height, width), (depth, size, size), (0, top, left))
    x_mm, y_mm, z_mm = (float(value) for value in origin)
    return after_step(volume, step, array=array, origin=(x_mm, y_mm, z_mm))


def _overlap(length: int, start: int, size: int) -> tuple[slice, slice]:
    """Return the overlap of 0..length and start..start + size, in the coordinates of either range."""
    first, last = max(start, 0), min(start + size, length)
    return slice(first, last), slice(first - start, last - start)
