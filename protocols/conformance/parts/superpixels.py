"""Replay of the superpixels of the released SSL-ALPNet on small volumes in the published layout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.io.nifti import read_nifti
from episodes.pseudo_labels.patient_threshold import threshold_of
from episodes.pseudo_labels.superpixels import volume_superpixels
from episodes.store.dataset import load_dataset_spec
from protocols.conformance.quantity import Quantity

# family of vectors -> the dataset whose threshold and minimal size the released program used
DATASETS = {"chaos_like": "chaost2", "sabs_like": "sabs", "gaps_like": "chaost2"}


def check(folder: Path) -> Iterator[Quantity]:
    """Yield, per scan, the number of slices whose partition differs from the released map; tolerance 0.

    Slices agree if both maps are zero at the same pixels and group the others alike. Label numbers may
    differ.
    """
    spec = load_dataset_spec(DATASETS[folder.name])
    for expected in sorted(folder.glob("superpix-MIDDLE_*.nii.gz"), key=_scan_number):
        scan = _scan_number(expected)
        image = read_nifti(folder / f"image_{scan}.nii.gz").array
        released = read_nifti(expected).array
        ours = volume_superpixels(
            image, threshold_of(image, spec.patient_threshold, spec.modality), spec.superpixel_min_size
        )
        yield Quantity(f"{folder.name}/{scan}/superpixels", _differing_slices(ours, released), 0.0)


def same_partition(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Return whether two integer maps of one shape have the same zeros and group all other pixels alike."""
    if not np.array_equal(a == 0, b == 0):
        return False
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    firsts, seconds = (len(np.unique(numbers)) for numbers in pairs)
    return firsts == seconds == int(pairs.shape[1])


def _differing_slices(ours: NDArray[Any], released: NDArray[Any]) -> float:
    if ours.shape != released.shape:
        return float("nan")
    return float(sum(not same_partition(a, b) for a, b in zip(ours, released, strict=True)))


def _scan_number(path: Path) -> int:
    return int(path.name.removeprefix("superpix-MIDDLE_").removesuffix(".nii.gz"))
