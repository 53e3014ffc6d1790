"""Facts of prepared scans, and warnings on what a person should check."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.io.nifti import NiftiImage
from episodes.prepare.scan import PreparedPair
from episodes.pseudo_labels.patient_threshold import threshold_of
from episodes.pseudo_labels.superpixels import patient_mask
from episodes.store.dataset import DatasetSpec
from fewshot.base.errors import UserError

STRAY_PIXELS = 10  # an end slice of a class with fewer pixels is probably a slip of the annotator
SIDES = (("liver", "spleen"), ("right-kidney", "left-kidney"))


@dataclass(frozen=True)
class ScanFacts:
    """Facts of one scan: shape and spacing in mm (z,y,x), as prepared and as in its files (`raw_`).

    `voxels`: class name -> number of labelled voxels; `in_body`: fraction of all labelled voxels inside the
    body, None without labelled voxels; `sha256`: of the prepared image's voxels.
    """

    scan: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, float, float]
    raw_shape: tuple[int, ...]
    raw_spacing_mm: tuple[float, float, float]
    voxels: Mapping[str, int]
    in_body: float | None
    sha256: str


def scan_facts(
    scan: str,
    image: NDArray[Any],
    labels: NDArray[Any],
    spec: DatasetSpec,
    spacing_mm: tuple[float, float, float],
    raw: PreparedPair | None = None,
) -> ScanFacts:
    """Return the facts of a scan.

    Args:
        scan: id of the scan.
        image: prepared image (Z,Y,X).
        labels: prepared labels (Z,Y,X).
        spec: facts of the dataset.
        spacing_mm: prepared spacing (z,y,x).
        raw: pair with the grid of the files; None: the prepared grid.
    """
    labelled = inside = 0
    threshold = threshold_of(image, spec.patient_threshold, spec.modality)
    for pixels, mask in zip(image, labels > 0, strict=True):
        if mask.any():
            labelled += int(mask.sum())
            inside += int((mask & patient_mask(pixels, threshold)).sum())
    return ScanFacts(
        scan=scan,
        shape=image.shape,
        spacing_mm=spacing_mm,
        raw_shape=raw.raw_shape if raw is not None else image.shape,
        raw_spacing_mm=raw.raw_spacing_mm if raw is not None else spacing_mm,
        voxels={name: int((labels == value).sum()) for name, value in spec.classes.items()},
        in_body=inside / labelled if labelled else None,
        sha256=hashlib.sha256(np.ascontiguousarray(image).data).hexdigest(),
    )


def check_threshold(image: NiftiImage, labels: NDArray[Any], spec: DatasetSpec) -> None:
    """Raise `UserError` if no pixel of an image is above the dataset's `patient_threshold`.

    Such a scan would have no patient, no superpixel and so no training episode.
    """
    low, high = float(image.array.min()), float(image.array.max())
    threshold = threshold_of(image.array, spec.patient_threshold, spec.modality)
    if high > threshold:
        return
    labelled = image.array[labels > 0]
    median = f", those of labelled voxels have the median {np.median(labelled):.6g}" if labelled.size else ""
    raise UserError(
        f"{image.path}: patient_threshold {threshold:g} leaves nothing: grey values are "
        f"{low:.6g} to {high:.6g}{median}; expected a threshold a little above the grey of the air, "
        f"below {high:.6g}: lower it in the facts of {spec.name}"
    )


def audit_set(facts: Sequence[ScanFacts], spec: DatasetSpec) -> list[str]:
    """Return warnings on equal images among the scans; `UserError` for a class that no scan has."""
    for name, value in spec.classes.items():
        if not any(scan.voxels[name] for scan in facts):
            raise UserError(
                f"no scan holds a voxel of {name} (value {value}), expected at least one; check that the "
                f"labels are those of {spec.name}"
            )
    same: dict[str, list[str]] = {}
    for scan in facts:
        same.setdefault(scan.sha256, []).append(scan.scan)
    return [
        f"scans {' and '.join(scans)} hold the same image; is one of them a copy?"
        for scans in same.values()
        if len(scans) > 1
    ]


def audit(scan: str, image: NDArray[Any], labels: NDArray[Any], spec: DatasetSpec) -> list[str]:
    """Return warnings on one scan; `image` and `labels` (Z,Y,X) are a checked pair."""
    found = []
    empty = [z for z in range(len(image)) if not (image[z] != image[z].flat[0]).any()]
    if empty:
        found.append(f"scan {scan}: {len(empty)} slices of one value only ({_some(empty)})")
    cut_off = int(np.count_nonzero(labels)) - int(
        np.count_nonzero(labels[:, : spec.image_size, : spec.image_size])
    )
    if cut_off:
        found.append(
            f"scan {scan}: {cut_off} labelled voxels lie outside the {spec.image_size} x {spec.image_size} "
            "pixels that the model sees"
        )
    for name, value in spec.classes.items():
        found += [
            f"scan {scan}: {name} {text}" for text in _class_warnings(labels == value, name in spec.tested)
        ]
    return found


def _class_warnings(mask: NDArray[np.bool_], tested: bool) -> list[str]:
    pixels = mask.sum(axis=(1, 2))
    slices = np.flatnonzero(pixels).tolist()
    if not slices:
        return ["is absent"]
    if not tested:
        return []
    found = []
    gaps = sorted(set(range(slices[0], slices[-1] + 1)) - set(slices))
    if gaps:
        found.append(f"has a gap at slices {_some(gaps)}")
    if slices[0] == 0 or slices[-1] == len(mask) - 1:
        found.append("touches the first or last slice")
    stray = [z for z in sorted({slices[0], slices[-1]}) if pixels[z] < STRAY_PIXELS]
    if stray:
        found.append(f"has under {STRAY_PIXELS} pixels at its end slice {_some(stray)}")
    return found


def left_right(labels: NDArray[Any], spec: DatasetSpec) -> dict[str, bool]:
    """Return, for each pair of organs on opposite sides of the body, whether the first lies at smaller x."""
    found = {}
    for first, second in SIDES:
        if first in spec.classes and second in spec.classes:
            places = [np.nonzero(labels == spec.classes[name])[2] for name in (first, second)]
            if all(len(place) for place in places):
                found[f"{first} and {second}"] = bool(places[0].mean() < places[1].mean())
    return found


def flipped(sides: Mapping[str, Mapping[str, bool]]) -> list[str]:
    """Return a warning for each scan whose organs lie on the opposite sides than in most scans.

    `sides`: scan -> result of `left_right`. Headers are ignored, since published sets have wrong ones.
    """
    found = []
    for pair in dict.fromkeys(pair for scan in sides.values() for pair in scan):
        votes = {scan: is_left[pair] for scan, is_left in sides.items() if pair in is_left}
        usual = 2 * sum(votes.values()) > len(votes)
        found += [
            f"scan {scan}: {pair} lie the other way round than in most scans; is the scan flipped?"
            for scan, vote in votes.items()
            if vote != usual
        ]
    return found


def _some(values: list[int]) -> str:
    return ", ".join(map(str, values[:4])) + (", ..." if len(values) > 4 else "")
