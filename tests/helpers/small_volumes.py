"""Small scans in the published layout, for tests of preparation: an ellipse of a patient with two organs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from episodes.io.nifti import write_nifti
from episodes.store.dataset import DatasetSpec, load_dataset_spec

SPACING = (7.7, 1.25, 1.5)
ORIGIN = (-10.0, 20.0, 5.5)
DIRECTION = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
SIZE = 48
# a user's TOML file with labels 1 and 4, as in the scans of `write_scans`
FACTS = """
modality = "mr"
image_size = 48
patient_threshold = 50
superpixel_min_size = 20
folds = 3
[classes]
liver = 1
tumour = 4
[groups]
both = ["liver", "tumour"]
small = ["tumour"]
"""


def small_spec(scans: int = 3) -> DatasetSpec:
    """Return CHAOS's facts for ids 1 .. `scans`, two of its classes and small slices."""
    return replace(
        load_dataset_spec("chaost2"),
        classes={"liver": 1, "spleen": 4},
        tested=("liver", "spleen"),
        scans=tuple(str(number) for number in range(1, scans + 1)),
        fold_borders=(0, 1, scans),
        image_size=SIZE,
        superpixel_min_size=20,
    )


def small_scan(number: int, depth: int = 5) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Return image and labels (Z,Y,X); liver at small x on slices 1-3, spleen at large x on slice 2."""
    noise = np.random.Generator(np.random.PCG64(number))
    rows, columns = np.mgrid[: SIZE + 1, : SIZE + 1]
    body = ((rows - 24) / 20) ** 2 + ((columns - 24) / 22) ** 2 < 1
    image = np.where(body, noise.integers(80, 200, (depth, SIZE + 1, SIZE + 1)), 0).astype(np.int16)
    image[-1] = 0
    labels = np.zeros(image.shape, dtype=np.uint8)
    labels[1:4, 16:30, 8:20] = 1
    labels[2, 20:30, 32:40] = 4
    return image, labels


def write_scan(folder: Path, number: int, image: NDArray[np.generic], labels: NDArray[np.generic]) -> None:
    """Write the two files of one scan."""
    for kind, array in (("image", image), ("label", labels)):
        write_nifti(folder / f"{kind}_{number}.nii.gz", array, SPACING, ORIGIN, DIRECTION)


def write_scans(folder: Path, scans: int = 3) -> Path:
    """Write scans 1 .. `scans` and return the folder."""
    for number in range(1, scans + 1):
        write_scan(folder, number, *small_scan(number))
    return folder


def names_in(folder: Path) -> list[str]:
    """Return the names of all that lies in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())
