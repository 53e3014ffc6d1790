"""Detect files without voxel spacing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from episodes.io.nifti import read_nifti
from episodes.prepare.scan import RawScan
from episodes.store.dataset import DatasetSpec

PLACEHOLDER = (1.0, 1.0, 1.0)


def mark_unknown_spacing(spec: DatasetSpec, scans: Mapping[str, RawScan]) -> DatasetSpec:
    """Return the facts with `spacing_known` False if every image has a spacing of 1 x 1 x 1 mm.

    Programs that lost the spacing write this value; no scanner has it in every scan.
    """
    if has_spacing(image for scan in scans.values() for image in scan.images):
        return spec
    return replace(spec, spacing_known=False)


def has_spacing(images: Iterable[Path]) -> bool:
    """Return whether any of the NIfTI files has a spacing other than 1 x 1 x 1 mm; stops at the first."""
    return any(read_nifti(image).spacing_mm != PLACEHOLDER for image in images)
