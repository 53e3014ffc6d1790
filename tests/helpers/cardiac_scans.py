"""Small hearts in the layouts of the cardiac downloads, for tests of their preparation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from episodes.io.nifti import write_nifti
from episodes.store.dataset import DatasetSpec, load_dataset_spec

SPACING = (10.0, 1.5, 1.25)
ORIGIN = (3.0, -4.0, 5.0)
DIRECTION = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
SIZE = 48
ORDER = {"cmr": ("lv-myo", "lv-bp", "rv"), "acdc": ("rv", "lv-myo", "lv-bp")}


def small_heart_spec(name: str, scans: int = 2) -> DatasetSpec:
    """Return the facts of `cmr` or `acdc` for scans 1 .. `scans` of 48 x 48 pixels."""
    return replace(
        load_dataset_spec(name),
        scans=tuple(str(number) for number in range(1, scans + 1)),
        fold_borders=tuple(range(scans + 1)),
        image_size=SIZE,
        superpixel_min_size=20,
    )


def heart(
    number: int, shape: tuple[int, int] = (50, 44)
) -> tuple[NDArray[np.int16], dict[str, NDArray[np.bool_]]]:
    """Return an image (4,H,W) of 30 .. 930 and where each class lies, about the slice's centre."""
    draw = np.random.Generator(np.random.PCG64(number))
    rows, columns = (
        grid - side // 2 for grid, side in zip(np.mgrid[: shape[0], : shape[1]], shape, strict=True)
    )
    pool, outer = rows**2 + columns**2 < 16, rows**2 + columns**2 < 49
    flat = {"lv-bp": pool, "lv-myo": outer & ~pool, "rv": (abs(rows) < 5) & (columns >= -14) & (columns < -8)}
    masks = {name: np.repeat(mask[None], 4, axis=0) for name, mask in flat.items()}
    image = draw.integers(300, 400, (4, *shape)).astype(np.int16)
    image[masks["lv-bp"] | masks["rv"]] += 500
    image[0, 0, 0] = 30
    return image, masks


def labels_of(masks: dict[str, NDArray[np.bool_]], values: dict[str, int]) -> NDArray[np.uint16]:
    """Return labels with each class's value."""
    labels = np.zeros(masks["rv"].shape, dtype=np.uint16)
    for name, mask in masks.items():
        labels[mask] = values[name]
    return labels


def write(path: Path, array: NDArray[np.generic]) -> None:
    """Write a volume with the small geometry."""
    write_nifti(path, array, SPACING, ORIGIN, DIRECTION)


def write_cmr(folder: Path, scans: int = 2) -> Path:
    """Write scans as MS-CMRSeg has them: images and labels in two folders, another sequence beside."""
    for number in range(1, scans + 1):
        image, masks = heart(number)
        values = {"lv-myo": 200, "lv-bp": 500, "rv": 600}
        write(folder / "images" / f"patient{number}_C0.nii.gz", image)
        write(folder / "images" / f"patient{number}_DE.nii.gz", image)
        write(folder / "gt" / f"patient{number}_C0_manual.nii.gz", labels_of(masks, values))
    return folder


def write_acdc(folder: Path, scans: int = 3, frame: int = 1) -> Path:
    """Write patients as ACDC has them, the last of `scans` beyond what the small facts name."""
    for number in range(1, scans + 1):
        patient = folder / "training" / f"patient{number:03d}"
        for time in (frame, frame + 9):
            image, masks = heart(100 * time + number)
            stem = f"{patient.name}_frame{time:02d}"
            write(patient / f"{stem}.nii.gz", image)
            write(patient / f"{stem}_gt.nii.gz", labels_of(masks, {"rv": 1, "lv-myo": 2, "lv-bp": 3}))
        (patient / "Info.cfg").write_text(f"ED: {frame}\nES: {frame + 9}\nGroup: DCM\nNbFrame: 30\n")
    return folder
