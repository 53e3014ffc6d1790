"""Slices of any size become squares: cropped or padded about their centre, nothing resampled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from episodes.io.nifti import NiftiImage
from episodes.prepare.scan import PreparedPair


def square_pair(pair: PreparedPair, size: int) -> PreparedPair:
    """Return the pair cropped or padded in plane to `size` x `size` about the centre.

    Of an even difference each side has one half; of an odd one the pixel more is cut at the end, or added
    at the beginning. The image is padded with the minimum of its volume, the label with 0. Origins move
    with the first pixel, so that the way back is plain geometry.
    """
    label = centred(pair.label, size, 0)
    return replace(
        pair,
        image=centred(pair.image, size, pair.image.array.min()),
        label=label,
        cut_off=int(np.count_nonzero(pair.label.array) - np.count_nonzero(label.array)),
    )


def centred(volume: NiftiImage, size: int, fill: Any) -> NiftiImage:
    """Return a volume (Z,H,W) as (Z,size,size) about its centre, `fill` where it has no voxels."""
    depth, height, width = volume.array.shape
    top, left = (height - size) // 2, (width - size) // 2
    array = np.full((depth, size, size), fill, dtype=volume.array.dtype)
    (from_y, to_y), (from_x, to_x) = _overlap(height, top, size), _overlap(width, left, size)
    array[:, to_y, to_x] = volume.array[:, from_y, from_x]
    _, y, x = volume.spacing_mm
    step = np.asarray(volume.direction).reshape(3, 3) @ np.array([left * x, top * y, 0.0])
    origin = np.asarray(volume.origin) + step
    return replace(volume, array=array, origin=(float(origin[0]), float(origin[1]), float(origin[2])))


def _overlap(length: int, start: int, size: int) -> tuple[slice, slice]:
    """Return the part of 0..length that start..start + size covers, and where it lies in the latter."""
    first, last = max(start, 0), min(start + size, length)
    return slice(first, last), slice(first - start, last - start)
