"""The MS-CMRSeg 2019 download of bSSFP scans: `patientN_C0.nii.gz`, `patientN_C0_manual.nii.gz`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from episodes.io.nifti import NiftiImage, check_pair, read_label, read_nifti
from episodes.prepare.crop_pad import square_pair
from episodes.prepare.listing import scan_files
from episodes.prepare.scan import PreparedPair, RawScan, pair_of
from episodes.store.dataset import DatasetSpec
from fewshot.base.errors import UserError, listed

FILE = re.compile(r"patient(\d+)_C0(_manual)?\.nii(\.gz)?")
VALUES = {200: "lv-myo", 500: "lv-bp", 600: "rv"}  # values in the files


def detect(folder: Path) -> bool:
    """Return whether the folder or one below it holds such files; the download spreads them over folders."""
    return any(FILE.fullmatch(path.name) for path in folder.rglob("patient*_C0*.nii*"))


def raw_scans(folder: Path, spec: DatasetSpec) -> dict[str, RawScan]:
    """Return the scans of the dataset's patients, in the order of their numbers.

    Image and label may lie in different folders below `folder`; other sequences and patients are ignored.
    Raises `UserError` if a patient lacks a file or has one twice.
    """
    found: dict[bool, dict[str, Path]] = {False: {}, True: {}}
    for path in scan_files(folder, lambda name: FILE.fullmatch(Path(name).name) is not None, below=True):
        match = FILE.fullmatch(path.name)
        assert match is not None
        kind, patient = match[2] is not None, str(int(match[1]))
        if patient in found[kind]:
            raise UserError(f"{folder} holds {found[kind][patient]} and {path}; keep one of them")
        found[kind][patient] = path
    for kind, ending in ((False, "_C0"), (True, "_C0_manual")):
        missing = [scan for scan in spec.scans if scan not in found[kind]]
        if missing:
            raise UserError(
                f"{folder} holds no patient{missing[0]}{ending}.nii.gz, expected those of {len(spec.scans)} "
                f"patients, {len(missing)} are missing; complete the download"
            )
    return {scan: _raw_scan(scan, found[False][scan], found[True][scan], spec) for scan in spec.scans}


def _raw_scan(scan: str, image_file: Path, label_file: Path, spec: DatasetSpec) -> RawScan:
    def read() -> PreparedPair:
        image, label = read_nifti(image_file), remapped(read_label(label_file), spec)
        check_pair(scan, image, label, spec.classes)
        return square_pair(pair_of(image, label, image), spec.image_size)

    return RawScan((image_file,), (label_file,), read)


def remapped(label: NiftiImage, spec: DatasetSpec) -> NiftiImage:
    """Return the label, uint8, with 200, 500 and 600 replaced by the dataset's values of their classes.

    Raises `UserError` with all values of the file if it holds another one.
    """
    values = np.unique(label.array).tolist()
    if not set(values) <= {0, *VALUES}:
        known = ", ".join(f"{value} {name}" for value, name in VALUES.items())
        texts = listed((f"{value:.10g}" for value in values), 10)
        raise UserError(
            f"{label.path} holds the values {texts}, expected only 0 and {known}; check that it is a manual "
            "segmentation of MS-CMRSeg"
        )
    array = np.zeros(label.array.shape, dtype=np.uint8)
    for value, name in VALUES.items():
        array[label.array == value] = spec.classes[name]
    return replace(label, array=array)
