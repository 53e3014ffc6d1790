"""The class-slice index: which slices of which scan show which class, and which have a superpixel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fewshot.base.types import SliceRef


@dataclass(frozen=True)
class ClassSliceIndex:
    """Where every class of a prepared dataset is seen; pure data, no volumes needed.

    `scans` are in the dataset's order (integer ids as integers), `depths` are slices per scan,
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
