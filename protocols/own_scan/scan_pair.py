"""A user's support and query scans: read from files, checked, held in memory as a dataset."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.io.nifti import NiftiImage, check_finite_voxels, check_pair, read_label, read_nifti
from episodes.store.index import ClassSliceIndex
from fewshot.base.errors import UserError, listed

SUPPORT, QUERY = "support", "query"


@dataclass(frozen=True)
class SegmentationInput:
    """Three volumes as stored in their files, and the value of the class in the support's mask.

    `slices`: the first and the last slice of the query file that show the organ, or None.
    """

    support: NiftiImage
    mask: NiftiImage
    query: NiftiImage
    value: int
    slices: tuple[int, int] | None = None


def read_segmentation_input(
    support: Path, mask: Path, query: Path, value: int | None = None, slices: tuple[int, int] | None = None
) -> SegmentationInput:
    """Return the three volumes, checked.

    Args:
        support: image file of the annotated scan.
        mask: its mask file.
        query: image file of the scan to segment.
        value: of the class in the mask; None: the mask's only value besides 0.
        slices: the first and the last slice of the query that show the organ; None: unknown.

    Raises:
        UserError: a file is missing, broken or four-dimensional; support image and mask differ in shape or
            geometry; a voxel is not finite; the mask has no voxel of the class; the query lacks a slice.
    """
    image, label, scan = read_nifti(support), read_label(mask), read_nifti(query)
    check_finite_voxels(scan)
    values = [found for found in np.unique(label.array).tolist() if found != 0]
    check_pair(SUPPORT, image, label, {f"value-{found:g}": found for found in values if found == found})
    chosen = _class_value(mask, values, value)
    if slices is not None and not 0 <= slices[0] <= slices[1] < len(scan.array):
        raise UserError(
            f"slices {slices[0]}:{slices[1]} of {query}: it has slices 0 to {len(scan.array) - 1}; give the "
            "first and the last that show the organ"
        )
    return SegmentationInput(image, label, scan, chosen, slices)


def _class_value(path: Path, values: Iterable[float], value: int | None) -> int:
    held = list(values)
    if not held:
        raise UserError(f"{path} holds only 0, expected voxels of the class; annotate at least one slice")
    names = listed(f"{found:.10g}" for found in held)
    if value is None and len(held) > 1:
        raise UserError(f"{path} holds the values {names}; say with --label which one is the class")
    chosen = held[0] if value is None else value
    if chosen not in held:
        raise UserError(f"{path} holds no voxel of value {chosen}, only {names}; give one of these")
    if chosen != int(chosen):
        raise UserError(
            f"{path} holds the value {chosen:.17g}, expected whole numbers; write a mask of integers"
        )
    return int(chosen)


@dataclass(frozen=True)
class MemoryScan:
    """A prepared scan in memory, as `SliceReader` reads it."""

    image: NDArray[Any]
    labels: NDArray[np.uint8]

    @property
    def channels(self) -> NDArray[Any]:
        return self.image[None]

    @property
    def superpixels(self) -> NDArray[np.uint16]:
        return np.zeros(self.image.shape, dtype=np.uint16)

    @property
    def count(self) -> int:
        return int(self.image.size)

    @cached_property
    def mean(self) -> float:
        return float(self.image.mean(dtype=np.float64))

    @cached_property
    def m2(self) -> float:
        return float(((self.image.astype(np.float64) - self.mean) ** 2).sum())


@dataclass(frozen=True)
class PairFacts:
    """The dataset facts that `SliceReader` reads: `image_size` in pixels."""

    image_size: int


class ScanPair:
    """A dataset in memory of two scans, the support and the query."""

    def __init__(self, support: MemoryScan, query: MemoryScan, image_size: int) -> None:
        self.spec = PairFacts(image_size)
        self._scans = {SUPPORT: support, QUERY: query}
        self.index = ClassSliceIndex(
            scans=(SUPPORT, QUERY),
            depths={scan: len(volume.image) for scan, volume in self._scans.items()},
            class_slices={},
            superpixel_slices={},
        )

    def scan(self, scan_id: str, /) -> MemoryScan:
        """Return the scan of id `SUPPORT` or `QUERY`."""
        return self._scans[scan_id]
