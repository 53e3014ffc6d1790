"""Label maps: masks of several classes merged into one volume, in which a voxel has one value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def merge_masks(masks: Mapping[int, NDArray[np.bool_]]) -> tuple[NDArray[Any], int]:
    """Return a label map (Z,Y,X), and how many of its voxels lie in the masks of several classes.

    Classes are predicted one by one, so their masks may overlap. Such a voxel belongs to the class with the
    smallest mask (of equal ones, that of the smaller value), so that no small organ disappears in a large
    one.

    Args:
        masks: class value -> mask (Z,Y,X), all of one shape; at least one.

    Returns:
        The map, uint8, or of a larger unsigned type if a value needs it; and the number of such voxels.
    """
    sizes = {value: int(mask.sum()) for value, mask in masks.items()}
    shape = next(iter(masks.values())).shape
    merged = np.zeros(shape, dtype=np.min_scalar_type(max(masks)))
    for value in sorted(masks, key=lambda value: (sizes[value], value), reverse=True):
        merged[masks[value]] = value
    return merged, _overlap(masks)


def _overlap(masks: Mapping[int, NDArray[np.bool_]]) -> int:
    once, several = (np.zeros(next(iter(masks.values())).shape, dtype=bool) for _ in range(2))
    for mask in masks.values():
        several |= once & mask
        once |= mask
    return int(several.sum())
