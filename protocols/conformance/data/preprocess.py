"""Replay of the released preparation of abdominal MR and CT on raw volumes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from episodes.io.nifti import NiftiImage, read_nifti
from episodes.prepare.abdomen import prepare_ct, prepare_ct_label, prepare_mr, prepare_mr_label
from episodes.store.dataset import load_dataset_spec
from protocols.conformance.quantity import Quantity

IMAGE_TOLERANCE = 1e-3  # of the range of the expected image
LABEL_TOLERANCE = 1e-4  # share of voxels that may differ
SPACING_TOLERANCE_MM = 1e-5  # headers hold it in single precision


def check(folder: Path) -> Iterator[Quantity]:
    """Yield, per scan, the errors of the prepared image, its label and its spacing.

    `raw/` holds image_ID and label_ID (preprocess_mr) or img/imgNNNN and label/labelNNNN (preprocess_ct,
    renumbered from 0 in sorted order). `normalized/` holds the expected volumes. If shapes differ, the error
    is NaN.
    """
    modality = folder.name.removeprefix("preprocess_")
    for scan, image_file, label_file in _mr_files(folder) if modality == "mr" else _ct_files(folder):
        image, label = read_nifti(image_file), read_nifti(label_file)
        if modality == "mr":
            values = load_dataset_spec("chaost2").classes.values()
            pair = prepare_mr(image), prepare_mr_label(label, values)
        else:
            values = load_dataset_spec("sabs").classes.values()
            pair = prepare_ct(image), prepare_ct_label(label, values)
        expected = [
            read_nifti(folder / "normalized" / f"{kind}_{scan}.nii.gz") for kind in ("image", "label")
        ]
        yield from _quantities(f"{folder.name}/{scan}", pair, (expected[0], expected[1]))


def _quantities(
    name: str, actual: tuple[NiftiImage, NiftiImage], expected: tuple[NiftiImage, NiftiImage]
) -> Iterator[Quantity]:
    (image, label), (expected_image, expected_label) = actual, expected
    image_error = label_error = float("nan")
    if image.array.shape == expected_image.array.shape:
        difference = np.abs(image.array.astype(np.float64) - expected_image.array)
        image_error = float(difference.max() / np.ptp(expected_image.array))
    if label.array.shape == expected_label.array.shape:
        label_error = float(np.mean(label.array != expected_label.array))
    spacing_error = max(
        float(np.abs(np.subtract(ours.spacing_mm, theirs.spacing_mm)).max())
        for ours, theirs in zip(actual, expected, strict=True)
    )
    yield Quantity(f"{name}/image", image_error, IMAGE_TOLERANCE)
    yield Quantity(f"{name}/label", label_error, LABEL_TOLERANCE)
    yield Quantity(f"{name}/spacing", spacing_error, SPACING_TOLERANCE_MM)


def _mr_files(folder: Path) -> Iterator[tuple[str, Path, Path]]:
    """Yield (scan, raw image, raw label) for every expected volume."""
    for path in sorted((folder / "normalized").glob("image_*.nii.gz")):
        scan = path.name.removeprefix("image_").removesuffix(".nii.gz")
        raw = folder / "raw"
        yield scan, raw / f"image_{scan}.nii.gz", raw / f"label_{scan}.nii.gz"


def _ct_files(folder: Path) -> Iterator[tuple[str, Path, Path]]:
    for number, path in enumerate(sorted((folder / "raw" / "img").glob("img*.nii.gz"))):
        label = folder / "raw" / "label" / path.name.replace("img", "label")
        yield str(number), path, label
