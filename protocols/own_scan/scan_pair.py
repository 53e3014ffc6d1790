"""One's own scans: read and checked from files, and held in memory as a dataset of two."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.io.nifti import NiftiImage, check_pair, read_nifti
from episodes.store.index import ClassSliceIndex
from fewshot.base.errors import UserError

SUPPORT, QUERY = "support", "query"


@dataclass(frozen=True)
class Question:
    """Three volumes as their files hold them, and the value of the class in the support's mask.

    `slices`: first and last slice of the query file between which the organ lies, both included, or None.
    """

    support: NiftiImage
    mask: NiftiImage
    query: NiftiImage
    value: int
    slices: tuple[int, int] | None = None


def read_question(
    support: Path, mask: Path, query: Path, value: int | None = None, slices: tuple[int, int] | None = None
) -> Question:
    """Read and check the three files; `value` None takes the mask's only value besides 0.

    Raises `UserError` for a missing, broken or four-dimensional file, for support image and mask that
    differ in shape or geometry, voxels that are not finite, a mask without the class, and slices that the
    query does not have.
    """
    image, label, asked = read_nifti(support), read_nifti(mask), read_nifti(query)
    if not np.isfinite(asked.array).all():
        raise UserError(f"{query} has voxels that are NaN or infinite; wanted finite values")
    values = [found for found in np.unique(label.array).tolist() if found != 0]
    check_pair(SUPPORT, image, label, {f"value-{found:g}": found for found in values})
    chosen = _class_value(mask, values, value)
    if slices is not None and not 0 <= slices[0] <= slices[1] < len(asked.array):
        raise UserError(
            f"slices {slices[0]}:{slices[1]} of {query}: it has slices 0 to {len(asked.array) - 1}; give the "
            "first and the last that show the organ"
        )
    return Question(image, label, asked, chosen, slices)


def _class_value(path: Path, values: Iterable[float], asked: int | None) -> int:
    listed = list(values)
    if not listed:
        raise UserError(f"{path} holds only 0, wanted voxels of the class; annotate at least one slice")
    names = ", ".join(f"{found:g}" for found in listed)
    if asked is None and len(listed) > 1:
        raise UserError(f"{path} holds the values {names}; say with --value which one is the class")
    chosen = listed[0] if asked is None else asked
    if chosen not in listed:
        raise UserError(f"{path} holds no voxel of value {chosen}, only {names}; give one of these")
    if chosen != int(chosen):
        raise UserError(f"{path} holds the value {chosen:g}, wanted whole numbers; write a mask of integers")
    return int(chosen)


@dataclass(frozen=True)
class MemoryScan:
    """A prepared scan in memory, as `SliceReader` reads it."""

    image: NDArray[Any]
    labels: NDArray[np.uint8]

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
    image_size: int


class ScanPair:
    """Support and query as the two scans of a dataset in memory."""

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
        """Return one of the two."""
        return self._scans[scan_id]
