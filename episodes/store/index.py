"""The class-slice index: the slices of each scan that show a class or have a superpixel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fewshot.base.types import SliceRef


@dataclass(frozen=True)
class ClassSliceIndex:
    """The slices that show each class of a prepared dataset; pure data without volumes.

    `scans` are in the order of the dataset (integer ids by value); `depths`: slices per scan;
    `class_slices[class][scan]` and `superpixel_slices[scan]` are ascending slice positions.
    """

    scans: tuple[str, ...]
    depths: Mapping[str, int]
    class_slices: Mapping[str, Mapping[str, tuple[int, ...]]]
    superpixel_slices: Mapping[str, tuple[int, ...]]

    def slices_of(self, class_name: str, scan: str) -> tuple[int, ...]:
        """Return the slices of `scan` that show the class, ascending; empty where it is absent."""
        return self.class_slices[class_name].get(scan, ())

    def all_slices(self, scans: tuple[str, ...]) -> tuple[SliceRef, ...]:
        """Return every slice of `scans`, scan by scan, z ascending."""
        return tuple(SliceRef(scan, z) for scan in scans for z in range(self.depths[scan]))
