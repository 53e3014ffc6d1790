"""A tiny prepared dataset on disk: ten scans of 64 x 64, four organs, five folds; seconds to train on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from episodes.pseudo_labels.superpixels import volume_superpixels
from episodes.store.dataset import DatasetSpec
from episodes.store.store import SourceScan, Store, new_store

SIZE = 64
DEPTH = 8
ORGANS = {
    "liver": (22, 20, 13),
    "right-kidney": (44, 22, 6),
    "left-kidney": (44, 44, 6),
    "spleen": (22, 48, 7),
}
SHOWN = {"liver": range(1, 5), "right-kidney": range(3, 7), "left-kidney": range(3, 7), "spleen": range(1, 5)}
BRIGHTNESS = {"liver": 300, "right-kidney": 520, "left-kidney": 500, "spleen": 400}


def tiny_spec() -> DatasetSpec:
    """Return the facts of the tiny dataset."""
    return DatasetSpec(
        name="tiny",
        title="made for tests",
        modality="mr",
        classes={"liver": 1, "right-kidney": 2, "left-kidney": 3, "spleen": 4},
        tested=("liver", "right-kidney", "left-kidney", "spleen"),
        scans=(),
        fold_borders=(0, 2, 4, 6, 8, 10),
        image_size=SIZE,
        patient_threshold=50.0,
        superpixel_min_size=60,
        sources=(),
    )


def tiny_store(
    path: Path,
    scans: int = 10,
    extra: int = 1,
    superpixels_of: Callable[[np.ndarray], np.ndarray] = lambda image: volume_superpixels(image, 50.0, 60, 1),
    scan_of: Callable[[int, int], tuple[np.ndarray, np.ndarray]] | None = None,
) -> Store:
    """Write and open the dataset.

    Args:
        path: folder of the store, which must not exist.
        scans: number of scans, numbered from 0.
        extra: rows and columns by which volumes exceed the model's square.
        superpixels_of: makes the superpixels of an image (Z,H,W), uint16 of the same shape.
        scan_of: makes image and labels of a scan from its number and side (default: `tiny_scan`).
    """
    with new_store(path, tiny_spec()) as writer:
        for number in range(scans):
            image, labels = (scan_of or tiny_scan)(number, SIZE + extra)
            superpixels = superpixels_of(image)
            writer.add(
                SourceScan(
                    str(number), image, labels, superpixels, (7.7, 1.25, 1.25), (0.0, 0.0, 0.0),
                    (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0), f"{number:064x}", f"{number:064x}",
                )
            )  # fmt: skip
    return Store.open(path)


def tiny_scan(number: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return image (8,side,side) int16 and labels uint8 of a scan."""
    draw = np.random.Generator(np.random.PCG64(number))
    rows, columns = np.mgrid[:side, :side]
    image = draw.normal(0, 8, (DEPTH, side, side))
    image += 150.0 * (((rows - 32) / 28) ** 2 + ((columns - 32) / 28) ** 2 < 1)
    labels = np.zeros((DEPTH, side, side), dtype=np.uint8)
    for value, (name, (row, column, radius)) in enumerate(ORGANS.items(), start=1):
        dy, dx = draw.integers(-2, 3, 2)
        for z in SHOWN[name]:
            inside = (rows - row - dy) ** 2 + (columns - column - dx) ** 2 < (
                radius * (1 - 0.06 * abs(z - 3.5))
            ) ** 2
            labels[z][inside] = value
            image[z][inside] = BRIGHTNESS[name] + draw.normal(0, 15, int(inside.sum()))
    return np.clip(image, 0, None).astype(np.int16), labels
