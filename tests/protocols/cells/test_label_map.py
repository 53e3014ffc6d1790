"""Masks merged into a label map: the smallest class wins, and voxels of several classes are counted."""

from __future__ import annotations

import numpy as np

from protocols.cells.label_map import merge_masks


def mask(*places: int) -> np.ndarray:
    array = np.zeros((1, 1, 8), dtype=bool)
    array[0, 0, list(places)] = True
    return array


def test_the_smallest_mask_wins_and_overlaps_are_counted() -> None:
    merged, in_several = merge_masks({1: mask(0, 1, 2, 3, 4), 2: mask(3, 4), 7: mask(4, 5, 6)})
    assert merged.ravel().tolist() == [1, 1, 1, 2, 2, 7, 7, 0]
    assert in_several == 2 and merged.dtype == np.uint8  # voxel 4 lies in three masks and counts once


def test_of_equal_masks_the_smaller_value_wins() -> None:
    merged, in_several = merge_masks({300: mask(1, 2), 5: mask(2, 3)})
    assert merged.ravel().tolist() == [0, 300, 5, 5, 0, 0, 0, 0]
    assert in_several == 1 and merged.dtype == np.uint16


def test_one_class_and_empty_masks() -> None:
    merged, in_several = merge_masks({3: mask(6), 4: mask()})
    assert merged.ravel().tolist() == [0, 0, 0, 0, 0, 0, 3, 0] and in_several == 0
