"""MyoPS, the present distribution of MS-CMRSeg: `CASE_LGE.nii.gz`, `CASE_C0.nii.gz` and `CASE_gd.nii.gz`.

MyoPS 2020 calls LGE `DE` and cases `myops_training_101`. A label holds scar and edema beside normal
myocardium; all three are myocardium here.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from episodes.io.nifti import NiftiImage, check_pair, read_label, read_nifti
from episodes.prepare.crop_pad import square_pair
from episodes.prepare.grid_rules import image_on_grid, label_on_grid
from episodes.prepare.listing import scan_files
from episodes.prepare.own_data.label_maps import with_class_values
from episodes.prepare.scan import PreparedPair, RawScan, pair_of
from episodes.store.dataset import DatasetSpec
from fewshot.base.errors import UserError, listed

FILE = re.compile(r"(\D*)(\d+)_(C0|LGE|DE|T2|gd)\.nii(\.gz)?")
SEQUENCES = {"myops-lge": ("LGE", "DE"), "myops-bssfp": ("C0",)}
VALUES = {"lv-myo": (200, 1220, 2221), "lv-bp": (500,), "rv": (600,)}  # values in the files


def detect(folder: Path) -> bool:
    """Return whether the folder or one below it holds labels of MyoPS."""
    return any(FILE.fullmatch(path.name) for path in folder.rglob("*_gd.nii*"))


def raw_scans(folder: Path, spec: DatasetSpec) -> dict[str, RawScan]:
    """Return the cases that have the dataset's sequence, under the numbers in their names.

    Raises `UserError` for a sequence without label, a case twice, and a folder without the sequence.
    """
    images: dict[int, Path] = {}
    labels: dict[int, Path] = {}
    for path in scan_files(folder, lambda name: FILE.fullmatch(Path(name).name) is not None, below=True):
        match = FILE.fullmatch(path.name)
        assert match is not None
        kind = labels if match[3] == "gd" else images if match[3] in SEQUENCES[spec.name] else None
        if kind is None:
            continue
        if int(match[2]) in kind:
            raise UserError(f"{folder} holds {kind[int(match[2])]} and {path}; keep one of them")
        kind[int(match[2])] = path
    if len(images) < 2:
        raise UserError(
            f"{folder} holds {len(images)} images *_{SEQUENCES[spec.name][0]}.nii.gz, expected 2 or more; "
            "give the "
            "folder of the training data of MyoPS"
        )
    alone = sorted(images.keys() - labels.keys())
    if alone:
        raise UserError(
            f"{folder} holds no label *_gd.nii.gz of {images[alone[0]].name} ({len(alone)} such); complete "
            "the "
            "download"
        )
    return {
        str(number): _raw_scan(str(number), images[number], labels[number], spec) for number in sorted(images)
    }


def merged(label: NiftiImage, spec: DatasetSpec) -> NiftiImage:
    """Return the label, uint8, with the dataset's values; `UserError` with all values for an unknown one."""
    known = {0, *(value for values in VALUES.values() for value in values)}
    values = np.unique(label.array).tolist()
    if not set(values) <= known:
        raise UserError(
            f"{label.path} holds the values {listed((f'{value:.10g}' for value in values), 10)}, expected "
            "only "
            f"{listed(sorted(known))}; check that it is a label of MyoPS"
        )
    return with_class_values(label, VALUES, spec.classes)


def _raw_scan(scan: str, image_file: Path, label_file: Path, spec: DatasetSpec) -> RawScan:
    def read() -> PreparedPair:
        image, label = read_nifti(image_file), merged(read_label(label_file), spec)
        check_pair(scan, image, label, spec.classes)
        pair = pair_of(image_on_grid(image, spec), label_on_grid(label, spec), image)
        return square_pair(pair, spec.image_size)

    return RawScan((image_file,), (label_file,), read)
