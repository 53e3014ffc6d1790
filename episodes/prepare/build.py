"""Build a store from scans of any layout: check all scans first, then compute superpixels and write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from episodes.prepare.unfinished import CheckedScan, UnfinishedStore
from episodes.pseudo_labels.patient_threshold import threshold_of
from episodes.pseudo_labels.superpixels import volume_superpixels
from episodes.store.dataset import DatasetSpec
from episodes.store.scan import CHANNELS, KINDS
from episodes.store.store import SourceScan, Store, StoreWriter, new_store
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
    unfinished: UnfinishedStore | None = None,
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
        unfinished: where finished scans are kept, so that an interrupted preparation continues.

    Raises:
        UserError: as the scans' `read`, `audit_set` and `new_store`; slices smaller than `image_size`.
    """
    if destination.exists() and not overwrite:
        raise UserError(f"{destination} exists already; use --overwrite to replace it")
    if unfinished is not None:
        key = {**unfinished.key, "spec": spec.to_json(), "strict": strict}
        unfinished = replace(unfinished, key=key)
    checked: dict[str, CheckedScan] = {}
    for scan, raw in scans.items():
        finished = unfinished.load(scan, raw) if unfinished is not None else None
        checked[scan] = finished or _check_scan(scan, raw, spec, strict=strict)
        on_scan(checked[scan].facts)
    warnings = _warnings(checked, spec)
    folder = None if unfinished is None else unfinished.folder
    with new_store(
        destination, spec, overwrite=overwrite, prepared_by=prepared_by, finish=finish, unfinished=folder
    ) as writer:
        writer.warnings += warnings
        for scan, raw in scans.items():
            finished_entry = checked[scan].entry
            if finished_entry is not None:
                writer.add_entry(dict(finished_entry))
                on_progress(checked[scan].facts.shape[0])
                continue
            entry = _add_scan(writer, scan, raw, spec, workers, on_progress)
            if unfinished is not None:
                unfinished.keep(scan, raw, checked[scan], entry)
        if folder is not None:
            _remove_others(folder, scans)
    return Store.open(destination)


def _check_scan(scan: str, raw: RawScan, spec: DatasetSpec, *, strict: bool) -> CheckedScan:
    """Read a scan and return what its check found; `UserError` for a fault."""
    pair = raw.read()
    image, label = pair.image.array, pair.label.array
    _check_size(pair.image, spec)
    check_threshold(pair.image, label, spec)
    headers = [
        (text, files[0].name)
        for volume, files in ((pair.image, raw.images), (pair.label, raw.labels))
        for text in volume.warnings
    ]
    facts = scan_facts(scan, image, label, spec, pair.image.spacing_mm, pair)
    warnings = []
    if pair.cut_off:
        warnings.append(
            f"scan {scan}: {pair.cut_off} labelled voxels are cut off by cropping to "
            f"{spec.image_size} x {spec.image_size}"
        )
    warnings += audit(scan, image, label, spec)
    warnings += check_orientation(facts, image, label, strict=strict)
    return CheckedScan(facts, tuple(warnings), tuple(headers), left_right(label, spec))


def _warnings(checked: Mapping[str, CheckedScan], spec: DatasetSpec) -> list[str]:
    """Return the warnings on headers, one line a kind, on scans and on the set; errors as `audit_set`."""
    headers: dict[str, list[str]] = {}
    for scan in checked.values():
        for text, file in scan.headers:
            headers.setdefault(text, []).append(file)
    warnings = [f"{listed(files, most=4)}: {text}" for text, files in headers.items()]
    warnings += [text for scan in checked.values() for text in scan.warnings]
    warnings += flipped({scan: found.sides for scan, found in checked.items()})
    return warnings + audit_set([scan.facts for scan in checked.values()], spec)


def _add_scan(
    writer: StoreWriter,
    scan: str,
    raw: RawScan,
    spec: DatasetSpec,
    workers: int,
    on_progress: Callable[[int], None],
) -> dict[str, Any]:
    """Compute the superpixels of a scan, write its arrays and return its entry."""
    pair = raw.read()
    image = pair.image.array
    threshold = threshold_of(image, spec.patient_threshold, spec.modality)
    superpixels = volume_superpixels(image, threshold, spec.superpixel_min_size, workers, on_progress)
    return writer.add(
        SourceScan(
            scan, image, pair.label.array.astype(np.uint8), superpixels, pair.image.spacing_mm,
            pair.image.origin, pair.image.direction, *raw.hashes(), pair.channels, pair.original,
        )
    )  # fmt: skip


def _remove_others(folder: Path, scans: Mapping[str, RawScan]) -> None:
    """Remove arrays of an interrupted preparation of other scans."""
    for kind in (*KINDS, CHANNELS):
        for path in (folder / kind).glob("*.npy"):
            if path.name.removesuffix(".npy") not in scans:
                path.unlink()


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
