"""Spine Generic in a folder: `sub-ID_T1w.nii.gz` or `_T2w`, and `_labels-disc-manual.nii.gz` in derivatives.

Names are those of BIDS. A name may hold `_RPI_r` behind the contrast, as the processed set has it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fewshot.base.errors import UserError
from fewshot.files.names import checked_name

CONTRASTS = {"spine-generic-t1w": "T1w", "spine-generic-t2w": "T2w"}  # dataset -> contrast of its files
IMAGE = re.compile(r"(sub-[A-Za-z0-9]+)_(T1w|T2w)(_RPI_r)?\.nii(\.gz)?")
LABELS = re.compile(r"(sub-[A-Za-z0-9]+)_(T1w|T2w)(_RPI_r)?_labels-disc-manual\.nii(\.gz)?")
FOLDS = 5


@dataclass(frozen=True)
class SpineFiles:
    """The files of one scan: an image, and a volume whose voxels above 0 number the discs."""

    image: Path
    labels: Path


@dataclass(frozen=True)
class SpineFolder:
    """The scans of a folder by id, in order, and the borders of folds of equal size."""

    scans: dict[str, SpineFiles]
    fold_borders: tuple[int, ...]


def find_spines(folder: Path, contrast: str, folds: int = FOLDS) -> SpineFolder:
    """Return the scans of one contrast below a folder.

    Raises `UserError` for no image, an image without labels, labels without an image, a file twice, or fewer
    scans than folds.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give the one that holds sub-ID folders and derivatives")
    images = _files(folder, IMAGE, contrast)
    labels = _files(folder, LABELS, contrast)
    if not images:
        raise UserError(f"{folder} holds no sub-ID_{contrast}.nii.gz; give the folder of Spine Generic")
    for scan, path in images.items():
        if scan not in labels:
            raise UserError(
                f"{path} has no labels, expected {scan}_{contrast}_labels-disc-manual.nii.gz below {folder}; "
                "add them or take the image out"
            )
    for scan, path in labels.items():
        if scan not in images:
            raise UserError(f"{path} has no image {scan}_{contrast}.nii.gz; add it or take the labels out")
    order = sorted(images)
    if len(order) < folds:
        raise UserError(f"{folder} holds {len(order)} scans, too few for {folds} folds; add some")
    borders = tuple(fold * len(order) // folds for fold in range(folds + 1))
    return SpineFolder({scan: SpineFiles(images[scan], labels[scan]) for scan in order}, borders)


def _files(folder: Path, pattern: re.Pattern[str], contrast: str) -> dict[str, Path]:
    """Return scan id -> file of a kind and contrast; `UserError` for two of one scan."""
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.nii*")):
        match = pattern.fullmatch(path.name)
        if match is None or match[2] != contrast:
            continue
        scan = checked_name("scan", match[1])
        if scan in files:
            raise UserError(f"{path}: a second file of {scan} beside {files[scan]}; keep one of them")
        files[scan] = path
    return files
