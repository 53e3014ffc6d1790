"""Supervoxel episodes over a store in memory."""

from __future__ import annotations

import numpy as np
from fake_store import fake_store

from episodes.sampling.supervoxel import SupervoxelEpisodes
from episodes.store.slices import SliceReader, normalisation


class Maps:
    """Supervoxels given scan by scan: a slice is written as the numbers that fill its columns in turn."""

    def __init__(self, slices: list[list[int]], scans: int = 2, size: int = 16, extra: int = 1) -> None:
        side = size + extra
        columns = [np.resize(np.array(numbers), size).tolist() + [99] * extra for numbers in slices]
        volume = np.repeat(np.array(columns)[:, None], side, axis=1).astype(np.uint16)
        self.maps = {str(number): volume for number in range(scans)}

    def scan(self, scan_id: str) -> np.ndarray:
        return self.maps[scan_id]


SLICES = [[1, 2], [1, 1, 1, 1, 1, 3, 3, 2], [1, 0], [2, 0], [1, 4], [0], [4]]


def source(
    slices: list[list[int]] = SLICES, scans: tuple[str, ...] = ("0", "1"), size: int = 32, **options: object
) -> SupervoxelEpisodes:
    store = fake_store(depth=len(slices), size=size)
    reader = SliceReader(store, normalisation(store, "per-scan", scans))
    settings: dict[str, object] = {"allowed": None, "seed": 0, "augmentation": "none", **options}
    return SupervoxelEpisodes(reader, Maps(slices, size=size), store.index, scans, **settings)  # type: ignore[arg-type]
