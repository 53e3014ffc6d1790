"""Scans of any layout become a store: all are checked first, then superpixels are computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from episodes.io.nifti import NiftiImage
from episodes.prepare.audit import ScanFacts, audit, audit_set, flipped, left_right, scan_facts
from episodes.prepare.orientation import check_orientation
from episodes.prepare.scan import RawScan
from episodes.pseudo_labels.superpixels import volume_superpixels
from episodes.store.dataset import DatasetSpec
from episodes.store.store import SourceScan, Store, new_store
from fewshot.base.errors import UserError


def build_store(
    scans: Mapping[str, RawScan],
    spec: DatasetSpec,
    destination: Path,
    *,
    overwrite: bool = False,
    strict: bool = False,
    prepared_by: str = "unknown",
    workers: int = 0,
    checked: Callable[[ScanFacts], None] = lambda _facts: None,
    sliced: Callable[[int], None] = lambda _count: None,
) -> Store:
    """Check every scan, then compute superpixels and write the store; return it opened.

    `prepared_by`: one of `episodes.store.PREPARED_BY`. `strict`: a label whose mirror image fits better is an
    error, not a warning. `workers`: threads, 0 for one a core. `checked` is told what each scan holds,
    `sliced` of each slice whose superpixels are ready. Raises `UserError` as the scans' `read`, `audit_set`
    and `new_store` do, and for slices smaller than the dataset's `image_size`.
    """
    if destination.exists() and not overwrite:
        raise UserError(f"{destination} exists already; use --overwrite to replace it")
    warnings: list[str] = []
    facts: list[ScanFacts] = []
    sides: dict[str, dict[str, bool]] = {}
    for scan, raw in scans.items():
        pair = raw.read()
        image, label = pair.image.array, pair.label.array
        _check_size(pair.image, spec)
        found = scan_facts(scan, image, label, spec, pair.image.spacing_mm, pair)
        facts.append(found)
        if pair.cut_off:
            warnings.append(
                f"scan {scan}: {pair.cut_off} labelled voxels are cut off by cropping to "
                f"{spec.image_size} x {spec.image_size}"
            )
        warnings += audit(scan, image, label, spec)
        warnings += check_orientation(found, image, label, strict=strict)
        sides[scan] = left_right(label, spec)
        checked(found)
    warnings += flipped(sides)
    warnings += audit_set(facts, spec)
    with new_store(destination, spec, overwrite=overwrite, prepared_by=prepared_by) as writer:
        writer.warnings += warnings
        for scan, raw in scans.items():
            pair = raw.read()
            superpixels = volume_superpixels(
                pair.image.array, spec.patient_threshold, spec.superpixel_min_size, workers, sliced
            )
            writer.add(
                SourceScan(
                    scan, pair.image.array, pair.label.array.astype(np.uint8), superpixels,
                    pair.image.spacing_mm, pair.image.origin, pair.image.direction, *raw.hashes(),
                )
            )  # fmt: skip
    return Store.open(destination)


def same_sources(store: Store, spec: DatasetSpec, scans: Mapping[str, RawScan]) -> bool:
    """Return whether `store` was prepared from just the files of `scans`, by the same facts."""
    return store.spec == spec and store.sources() == {scan: raw.hashes() for scan, raw in scans.items()}


def _check_size(image: NiftiImage, spec: DatasetSpec) -> None:
    height, width = image.array.shape[1:]
    if min(height, width) < spec.image_size:
        raise UserError(
            f"{image.path} has slices of {height} x {width} pixels, wanted at least {spec.image_size} x "
            f"{spec.image_size} for {spec.name}; pad or resample image and label"
        )
