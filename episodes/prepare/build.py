"""Build a store from scans of any layout: check all scans first, then compute superpixels and write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from episodes.io.nifti import NiftiImage
from episodes.prepare.audit import (
    ScanFacts,
    audit,
    audit_set,
    check_threshold,
    flipped,
    left_right,
    scan_facts,
)
from episodes.prepare.orientation import check_orientation
from episodes.prepare.scan import RawScan
from episodes.pseudo_labels.patient_threshold import threshold_of
from episodes.pseudo_labels.superpixels import volume_superpixels
from episodes.store.dataset import DatasetSpec
from episodes.store.store import SourceScan, Store, new_store
from fewshot.base.errors import UserError, listed


def build_store(
    scans: Mapping[str, RawScan],
    spec: DatasetSpec,
    destination: Path,
    *,
    overwrite: bool = False,
    strict: bool = False,
    prepared_by: str = "unknown",
    workers: int = 0,
    on_scan: Callable[[ScanFacts], None] = lambda _facts: None,
    on_progress: Callable[[int], None] = lambda _count: None,
    finish: Callable[[Store], object] | None = None,
) -> Store:
    """Check every scan, then compute superpixels and write the store; return it opened.

    Args:
        scans: scan id -> files and reader.
        spec: facts of the dataset.
        destination: folder of the store.
        overwrite: replace an existing store.
        strict: a label whose mirror image fits better is an error, not a warning.
        prepared_by: one of `episodes.store.store.PREPARED_BY`.
        workers: threads, 0 for one per usable core.
        on_scan: called with the facts of each checked scan.
        on_progress: called with 1 after the superpixels of each slice.
        finish: as in `new_store`.

    Raises:
        UserError: as the scans' `read`, `audit_set` and `new_store`; slices smaller than `image_size`.
    """
    if destination.exists() and not overwrite:
        raise UserError(f"{destination} exists already; use --overwrite to replace it")
    warnings: list[str] = []
    facts: list[ScanFacts] = []
    sides: dict[str, dict[str, bool]] = {}
    headers: dict[str, list[str]] = {}  # warning -> files
    for scan, raw in scans.items():
        pair = raw.read()
        image, label = pair.image.array, pair.label.array
        _check_size(pair.image, spec)
        check_threshold(pair.image, label, spec)
        for volume, files in ((pair.image, raw.images), (pair.label, raw.labels)):
            for text in volume.warnings:
                headers.setdefault(text, []).append(files[0].name)
        scan_summary = scan_facts(scan, image, label, spec, pair.image.spacing_mm, pair)
        facts.append(scan_summary)
        if pair.cut_off:
            warnings.append(
                f"scan {scan}: {pair.cut_off} labelled voxels are cut off by cropping to "
                f"{spec.image_size} x {spec.image_size}"
            )
        warnings += audit(scan, image, label, spec)
        warnings += check_orientation(scan_summary, image, label, strict=strict)
        sides[scan] = left_right(label, spec)
        on_scan(scan_summary)
    warnings = [f"{listed(files, most=4)}: {text}" for text, files in headers.items()] + warnings
    warnings += flipped(sides)
    warnings += audit_set(facts, spec)
    with new_store(destination, spec, overwrite=overwrite, prepared_by=prepared_by, finish=finish) as writer:
        writer.warnings += warnings
        for scan, raw in scans.items():
            pair = raw.read()
            superpixels = volume_superpixels(
                pair.image.array,
                threshold_of(pair.image.array, spec.patient_threshold, spec.modality),
                spec.superpixel_min_size,
                workers,
                on_progress,
            )
            writer.add(
                SourceScan(
                    scan, pair.image.array, pair.label.array.astype(np.uint8), superpixels,
                    pair.image.spacing_mm, pair.image.origin, pair.image.direction, *raw.hashes(),
                    original=pair.original,
                )
            )  # fmt: skip
    return Store.open(destination)


def same_sources(store: Store, spec: DatasetSpec, scans: Mapping[str, RawScan]) -> bool:
    """Return whether `store` was prepared from exactly the files of `scans`, with the facts `spec`."""
    return store.spec == spec and store.sources() == {scan: raw.hashes() for scan, raw in scans.items()}


def _check_size(image: NiftiImage, spec: DatasetSpec) -> None:
    height, width = image.array.shape[1:]
    if min(height, width) < spec.image_size:
        raise UserError(
            f"{image.path} has slices of {height} x {width} pixels, expected at least {spec.image_size} x "
            f"{spec.image_size} for {spec.name}; pad or resample image and label"
        )
