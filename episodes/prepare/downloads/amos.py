"""The AMOS22 download: `imagesTr/amos_NNNN.nii.gz` beside `labelsTr`, and `imagesVa` beside `labelsVa`.

Ids below 500 are CT, others MR, as its readme says. Test images have no public labels and are ignored.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from episodes.io.nifti import NiftiImage, check_pair, read_label, read_nifti
from episodes.prepare.abdomen import CT_WINDOW, MR_PERCENTILE
from episodes.prepare.crop_pad import square_pair
from episodes.prepare.grid_rules import image_on_grid, label_on_grid
from episodes.prepare.listing import scan_files
from episodes.prepare.paired_nifti import check_ids
from episodes.prepare.scan import PreparedPair, RawScan, pair_of
from episodes.store.dataset import DatasetSpec
from fewshot.base.errors import UserError

PLACES = (".", "amos22", "amos")
PARTS = (("imagesTr", "labelsTr"), ("imagesVa", "labelsVa"))
FILE = re.compile(r"amos_(\d+)\.nii(\.gz)?")
FIRST_MR = 500


def detect(folder: Path) -> bool:
    """Return whether the folder, or a known folder below it, holds files of AMOS22."""
    return _home(folder) is not None


def raw_scans(folder: Path, spec: DatasetSpec) -> dict[str, RawScan]:
    """Return the labelled scans of the dataset's modality under their numbers, in order.

    Raises `UserError` for an image without label, a label without image, and for another number of scans than
    the folds need.
    """
    home = _home(folder)
    if home is None:
        raise UserError(
            f"{folder} holds no imagesTr/amos_NNNN.nii.gz; give the folder of the AMOS22 download"
        )
    pairs: dict[int, tuple[Path, Path]] = {}
    for image_folder, label_folder in PARTS:
        images, labels = (_numbered(home / name) for name in (image_folder, label_folder))
        for name, alone in (
            (label_folder, images.keys() - labels.keys()),
            (image_folder, labels.keys() - images.keys()),
        ):
            if alone:
                raise UserError(f"{home / name} holds no amos_{min(alone):04d}.nii.gz; complete the download")
        pairs |= {number: (images[number], labels[number]) for number in images}
    numbers = [number for number in sorted(pairs) if (number >= FIRST_MR) == (spec.modality == "mr")]
    check_ids(home, [str(number) for number in numbers], spec)
    return {str(number): _raw_scan(str(number), *pairs[number], spec) for number in numbers}


def windowed(image: NiftiImage) -> NiftiImage:
    """Return a CT clipped to -125..275 HU and scaled to 0..255, float32."""
    low, high = CT_WINDOW
    share = (np.clip(image.array, low, high).astype(np.float32) - low) / (high - low)
    return replace(image, array=share * np.float32(255))


def clipped(image: NiftiImage) -> NiftiImage:
    """Return an MR image clipped at its 99.5th percentile, in its own dtype."""
    top = np.percentile(image.array, MR_PERCENTILE)
    return replace(image, array=np.minimum(image.array, top).astype(image.array.dtype))


def _raw_scan(scan: str, image_file: Path, label_file: Path, spec: DatasetSpec) -> RawScan:
    def read() -> PreparedPair:
        image, label = read_nifti(image_file), read_label(label_file)
        check_pair(scan, image, label, spec.classes)
        prepared = windowed(image) if spec.modality == "ct" else clipped(image)
        pair = pair_of(image_on_grid(prepared, spec), label_on_grid(label, spec), image)
        return square_pair(pair, spec.image_size)

    return RawScan((image_file,), (label_file,), read)


def _home(folder: Path) -> Path | None:
    homes = (folder / place for place in PLACES)
    return next((home for home in homes if _numbered(home / "imagesTr")), None)


def _numbered(folder: Path) -> dict[int, Path]:
    if not folder.is_dir():
        return {}
    found: dict[int, Path] = {}
    for path in scan_files(folder, lambda name: FILE.fullmatch(name) is not None):
        match = FILE.fullmatch(path.name)
        assert match is not None
        if int(match[1]) in found:
            raise UserError(f"{folder} holds {found[int(match[1])].name} and {path.name}; keep one of them")
        found[int(match[1])] = path
    return found
