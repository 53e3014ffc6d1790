"""Prepared scans in memory, read as slices like those of a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.store.index import ClassSliceIndex


@dataclass(frozen=True)
class MemoryScan:
    """A prepared scan in memory, as `SliceReader` reads it: image and labels (Z,Y,X)."""

    image: NDArray[Any]
    labels: NDArray[np.uint8]

    @property
    def channels(self) -> NDArray[Any]:
        return self.image[None]

    @property
    def points(self) -> Mapping[str, tuple[float, float, float]]:
        return {}

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        raise ValueError("a scan in memory has no points, so its spacing is not kept")

    @property
    def superpixels(self) -> NDArray[np.uint16]:
        return np.zeros(self.image.shape, dtype=np.uint16)

    @property
    def sentences(self) -> tuple[str, ...]:
        return ()

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
class MemoryFacts:
    """The dataset facts that `SliceReader` reads: `image_size` in pixels; classes have no stored values."""

    image_size: int

    @property
    def classes(self) -> Mapping[str, int]:
        return {}


class MemoryDataset:
    """A dataset in memory: scans by id, and the pixels a side that a model sees."""

    def __init__(self, scans: Mapping[str, MemoryScan], image_size: int) -> None:
        self.spec = MemoryFacts(image_size)
        self._scans = dict(scans)
        self.index = ClassSliceIndex(
            scans=tuple(self._scans),
            depths={scan: len(volume.image) for scan, volume in self._scans.items()},
            class_slices={},
            superpixel_slices={},
        )

    def scan(self, scan_id: str, /) -> MemoryScan:
        """Return a scan."""
        return self._scans[scan_id]
