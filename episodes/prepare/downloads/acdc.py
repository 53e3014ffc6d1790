"""The ACDC download: end-diastolic `patientNNN/patientNNN_frameXX.nii.gz` beside `_gt.nii.gz`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from episodes.io.nifti import NiftiImage, check_pair, read_label, read_nifti
from episodes.prepare.crop_pad import square_pair
from episodes.prepare.scan import PreparedPair, RawScan, pair_of
from episodes.store.dataset import DatasetSpec
from fewshot.base.errors import UserError
from fewshot.files.input_files import check_file, read_text

PLACES = (".", "training", "database/training")
PATIENT = re.compile(r"patient(\d+)")
FRAME = re.compile(r"ED\s*:\s*(\d{1,6})")
TOP = 4095  # largest prepared intensity
PERCENTILE = 99.0


def detect(folder: Path) -> bool:
    """Return whether the folder, or a known folder below it, holds patients' folders."""
    return any(_patients(folder / place) for place in PLACES)


def raw_scans(folder: Path, spec: DatasetSpec) -> dict[str, RawScan]:
    """Return one scan for each patient of the dataset, under the patient's number.

    The scan is the end-diastolic frame that the patient's Info.cfg names. No other frame is used, so no
    patient is on both sides of a split. Patients outside the dataset are ignored. Raises `UserError` for a
    missing patient, Info.cfg, frame number or file.
    """
    found = next((patients for place in PLACES if (patients := _patients(folder / place))), {})
    missing = [scan for scan in spec.scans if scan not in found]
    if missing:
        raise UserError(
            f"{folder} holds no folder patient{int(missing[0]):03d}, expected those of {len(spec.scans)} "
            f"patients, {len(missing)} are missing; complete the download"
        )
    return {scan: _raw_scan(scan, *_end_diastolic(found[scan]), spec) for scan in spec.scans}


def end_diastolic_frame(info: Path) -> int:
    """Return the number of the end-diastolic frame from the line `ED: number` of an Info.cfg."""
    text = read_text(info, "expected a line `ED: number`: fetch it again")
    frames = [match[1] for line in text.splitlines() if (match := FRAME.fullmatch(line.strip()))]
    if len(frames) != 1:
        raise UserError(f"{info} has {len(frames)} lines `ED: number`, expected one; fetch it again")
    return int(frames[0])


def rescaled(image: NiftiImage) -> NiftiImage:
    """Return the image scaled from 0 (minimum) to 4095 (99th percentile) and clipped there; uint16.

    Scanners' scales differ widely between patients; the published layout's files are scaled this way.
    """
    low, high = float(image.array.min()), float(np.percentile(image.array, PERCENTILE))
    if not low < high:
        raise UserError(f"{image.path}: 99 % of its voxels are {low:g}; expected an image, fetch it again")
    share = (image.array.astype(np.float64) - low) / (high - low)
    return replace(image, array=np.rint(np.clip(share, 0, 1) * TOP).astype(np.uint16))


def _raw_scan(scan: str, image_file: Path, label_file: Path, spec: DatasetSpec) -> RawScan:
    def read() -> PreparedPair:
        image, label = read_nifti(image_file), read_label(label_file)
        check_pair(scan, image, label, spec.classes)
        return square_pair(pair_of(rescaled(image), label, image), spec.image_size)

    return RawScan((image_file,), (label_file,), read)


def _patients(folder: Path) -> dict[str, Path]:
    """Return patient number -> patient's folder in `folder`."""
    if not folder.is_dir():
        return {}
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        match = PATIENT.fullmatch(path.name)
        if match is None or not path.is_dir():
            continue
        number = str(int(match[1]))
        if number in found:
            raise UserError(f"{folder} holds {found[number].name} and {path.name}; keep one of them")
        found[number] = path
    return found


def _end_diastolic(patient: Path) -> tuple[Path, Path]:
    frame = end_diastolic_frame(patient / "Info.cfg")
    stem = f"{patient.name}_frame{frame:02d}"
    return _one_of(patient, stem), _one_of(patient, f"{stem}_gt")


def _one_of(folder: Path, stem: str) -> Path:
    files = [folder / f"{stem}{ending}" for ending in (".nii.gz", ".nii")]
    found = [path for path in files if path.is_symlink() or path.exists()]
    if len(found) != 1:
        raise UserError(f"{folder} holds {len(found)} of {files[0].name} and {files[1].name}, expected one")
    check_file(found[0], "complete the download")
    return found[0]
