"""The download of male pelvic T2 images: `data/NNNNNN_img.nii` beside `data/NNNNNN_mask.nii`."""

from __future__ import annotations

import re
from pathlib import Path

from episodes.io.nifti import check_pair, read_label, read_nifti
from episodes.prepare.crop_pad import square_pair
from episodes.prepare.downloads.amos import clipped
from episodes.prepare.grid_rules import image_on_grid, label_on_grid
from episodes.prepare.listing import scan_files
from episodes.prepare.paired_nifti import check_ids
from episodes.prepare.scan import PreparedPair, RawScan, pair_of
from episodes.store.dataset import DatasetSpec
from fewshot.base.errors import UserError

PLACES = (".", "data")
FILE = re.compile(r"(\d+)_(img|mask)\.nii(\.gz)?")


def detect(folder: Path) -> bool:
    """Return whether the folder, or its folder data, holds such files."""
    return _home(folder) is not None


def raw_scans(folder: Path, spec: DatasetSpec) -> dict[str, RawScan]:
    """Return the scans under their numbers, in order.

    Raises `UserError` for a file without its partner and for another number of scans than the folds need.
    """
    home = _home(folder)
    if home is None:
        raise UserError(f"{folder} holds no NNNNNN_img.nii; give the folder of the download")
    found: dict[str, dict[int, Path]] = {"img": {}, "mask": {}}
    for path in scan_files(home, lambda name: FILE.fullmatch(name) is not None):
        match = FILE.fullmatch(path.name)
        assert match is not None
        if int(match[1]) in found[match[2]]:
            raise UserError(
                f"{home} holds {found[match[2]][int(match[1])].name} and {path.name}; keep one of them"
            )
        found[match[2]][int(match[1])] = path
    for kind, other in (("mask", "img"), ("img", "mask")):
        alone = found[other].keys() - found[kind].keys()
        if alone:
            raise UserError(
                f"{home} holds no {kind} of {found[other][min(alone)].name} ({len(alone)} such); complete "
                "the download"
            )
    numbers = sorted(found["img"])
    check_ids(home, [str(number) for number in numbers], spec)
    return {
        str(number): _raw_scan(str(number), found["img"][number], found["mask"][number], spec)
        for number in numbers
    }


def _raw_scan(scan: str, image_file: Path, label_file: Path, spec: DatasetSpec) -> RawScan:
    def read() -> PreparedPair:
        image, label = read_nifti(image_file), read_label(label_file)
        check_pair(scan, image, label, spec.classes)
        pair = pair_of(image_on_grid(clipped(image), spec), label_on_grid(label, spec), image)
        return square_pair(pair, spec.image_size)

    return RawScan((image_file,), (label_file,), read)


def _home(folder: Path) -> Path | None:
    homes = (folder / place for place in PLACES)
    return next(
        (
            home
            for home in homes
            if home.is_dir() and any(FILE.fullmatch(path.name) for path in home.iterdir())
        ),
        None,
    )
