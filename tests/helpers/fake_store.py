"""A store in memory: a few synthetic scans with what `SliceReader` and `SuperpixelEpisodes` read."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from episodes.store.index import ClassSliceIndex


@dataclass(frozen=True)
class FakeScan:
    image: np.ndarray
    labels: np.ndarray
    superpixels: np.ndarray
    points: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def count(self) -> int:
        return self.image.size

    @property
    def mean(self) -> float:
        return float(self.image.astype(np.float64).mean())

    @property
    def m2(self) -> float:
        return float(((self.image.astype(np.float64) - self.mean) ** 2).sum())


class FakeStore:
    """`scans`: id -> FakeScan; the model's input is `image_size` pixels a side."""

    def __init__(self, scans: dict[str, FakeScan], image_size: int) -> None:
        self._scans = scans
        self.spec: Any = SimpleNamespace(image_size=image_size)
        self.index = ClassSliceIndex(
            scans=tuple(scans),
            depths={name: len(scan.image) for name, scan in scans.items()},
            class_slices={},
            superpixel_slices={
                name: tuple(int(z) for z in np.flatnonzero(scan.superpixels.any(axis=(1, 2))))
                for name, scan in scans.items()
            },
        )

    def scan(self, scan_id: str) -> FakeScan:
        return self._scans[scan_id]


def fake_store(
    scans: int = 3, depth: int = 5, size: int = 64, empty: tuple[int, ...] = (), extra: int = 1
) -> FakeStore:
    """Return scans of a bright disc on noise, `extra` pixels larger than the model's input.

    Superpixels 1, 2, 4 and 5 are the quadrants of every slice but those in `empty`; 3 is absent.
    """
    made = {}
    for number in range(scans):
        noise = np.random.Generator(np.random.PCG64(number))
        side = size + extra
        rows, columns = np.mgrid[:side, :side]
        disc = (rows - size / 3) ** 2 + (columns - size / 2) ** 2 < (size / 6) ** 2
        image = noise.integers(0, 200, (depth, side, side)) + 300 * (number + 1) * disc
        quadrants = np.array([1, 2, 4, 5])[2 * (rows >= size // 2) + (columns >= size // 2)]
        superpixels = np.repeat(quadrants[None], depth, axis=0).astype(np.int32)
        superpixels[list(empty)] = 0
        labels = np.repeat(disc[None], depth, axis=0).astype(np.uint8)
        made[str(number)] = FakeScan(image.astype(np.int16), labels, superpixels)
    return FakeStore(made, size)
