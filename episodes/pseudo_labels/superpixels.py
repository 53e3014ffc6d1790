"""2-D superpixels, the pseudo-labels of self-supervised training, and outlines of masks for figures.

Source: Ouyang et al., ECCV 2020, section 3.3; numbering as in the released program. Rules M-SPX-1 to
M-SPX-4 of docs/methods.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours
from skimage.segmentation import felzenszwalb

SCALE = 1.0
SIGMA = 1.0
EIGHT = np.ones((3, 3), dtype=bool)


def patient_mask(image: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    """Return the patient's mask in a slice (H,W): largest 8-connected component above `threshold`, filled.

    Holes are pixels that the 4-connected background does not reach. Without a pixel above `threshold` the
    mask is empty.
    """
    above = image > threshold
    if not above.any():
        return np.zeros(above.shape, dtype=bool)
    components, _count = ndimage.label(above, structure=EIGHT)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(components == sizes.argmax())
    return filled


def superpixels(image: NDArray[Any], threshold: float, min_size: int) -> NDArray[np.uint16]:
    """Return the superpixel map (H,W) of one slice; 0 means no superpixel, and numbers have gaps.

    Felzenszwalb's algorithm runs on the intensities as float64, unscaled; scikit-image would rescale an
    integer image, which changes the partition. With n segments, number n-1 becomes n and segment 0 becomes
    background; pixels outside the patient are 0. `min_size` (pixels) acts before masking, so small remnants
    stay.
    """
    patient = patient_mask(image, threshold)
    if not patient.any():
        return np.zeros(image.shape, dtype=np.uint16)
    segments = felzenszwalb(image.astype(np.float64), scale=SCALE, sigma=SIGMA, min_size=min_size)
    count = int(segments.max()) + 1
    numbers = np.where(segments == count - 1, count, segments)  # a single segment becomes number 1
    return np.where(patient, numbers, 0).astype(np.uint16)


def volume_superpixels(
    volume: NDArray[Any],
    threshold: float,
    min_size: int,
    workers: int = 0,
    on_progress: Callable[[int], None] = lambda _count: None,
) -> NDArray[np.uint16]:
    """Return the superpixel maps (Z,H,W) of all slices, computed in threads; the algorithm releases the GIL.

    Args:
        volume: image (Z,H,W).
        threshold: pixels above it may be patient.
        min_size: smallest superpixel in pixels, before masking.
        workers: threads, 0 for one per usable core; the maps do not depend on it.
        on_progress: called with 1 after each slice, in the calling thread.
    """
    maps = np.zeros(volume.shape, dtype=np.uint16)
    with ThreadPoolExecutor(max_workers=workers or usable_cores()) as pool:
        for z, slice_map in enumerate(
            pool.map(lambda image: superpixels(image, threshold, min_size), volume)
        ):
            maps[z] = slice_map
            on_progress(1)
    return maps


def usable_cores() -> int:
    """Return the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Return the closed outlines of a mask (H,W) as arrays (N,2) of (row, column)."""
    padded = np.pad(mask.astype(np.float64), 1)
    return [contour - 1 for contour in find_contours(padded, 0.5)]  # type: ignore[no-untyped-call]
