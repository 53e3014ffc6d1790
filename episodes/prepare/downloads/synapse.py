"""The Synapse download of abdominal CT: `img/imgNNNN.nii.gz` and `label/labelNNNN.nii.gz`."""

from __future__ import annotations

import re
from pathlib import Path

from episodes.io.nifti import check_pair, read_label, read_nifti
from episodes.prepare.abdomen import prepare_ct, prepare_ct_label
from episodes.prepare.listing import scan_files
from episodes.prepare.scan import PreparedPair, RawScan, pair_of
from episodes.store.dataset import DatasetSpec
from fewshot.base.errors import UserError

PLACES = (".", "Training", "RawData/Training")
FILE = re.compile(r"(img|label)(\d+)\.nii(\.gz)?")


def detect(folder: Path) -> bool:
    """Return whether the folder, or a known folder below it, holds `img` or `label` files."""
    return _home(folder) is not None


def raw_scans(folder: Path, spec: DatasetSpec) -> dict[str, RawScan]:
    """Return the scans, renumbered from 0 in the order of the numbers in their names.

    Raises `UserError` for a file without its partner, and if the number of scans does not fit the folds.
    """
    home = _home(folder)
    if home is None:
        raise UserError(f"{folder} holds no img/imgNNNN.nii.gz; give the folder of the Synapse download")
    found = {kind: _numbered(home / kind, kind) for kind in ("img", "label")}
    for kind, other in (("label", "img"), ("img", "label")):
        alone = found[other].keys() - found[kind].keys()
        if alone:
            partner = found[other][min(alone)]
            raise UserError(
                f"{home / kind} holds no {partner.name.replace(other, kind)}, the partner of {other}/"
                f"{partner.name}; add it"
            )
    numbers = sorted(found["img"])
    if len(numbers) != spec.fold_borders[-1]:
        raise UserError(
            f"{home} holds {len(numbers)} scans, the folds of {spec.name} need {spec.fold_borders[-1]}; "
            "complete the download"
        )
    return {
        str(position): _raw_scan(str(position), found["img"][number], found["label"][number], spec)
        for position, number in enumerate(numbers)
    }


def _raw_scan(scan: str, image_file: Path, label_file: Path, spec: DatasetSpec) -> RawScan:
    def read() -> PreparedPair:
        image, label = read_nifti(image_file), read_label(label_file)
        check_pair(scan, image, label, spec.classes)
        return pair_of(prepare_ct(image), prepare_ct_label(label, spec.classes.values()), image)

    return RawScan((image_file,), (label_file,), read)


def _home(folder: Path) -> Path | None:
    for place in PLACES:
        home = folder / place
        if any(_numbered(home / kind, kind) for kind in ("img", "label")):
            return home
    return None


def _kind(name: str) -> str | None:
    match = FILE.fullmatch(name)
    return None if match is None else match[1]


def _numbered(folder: Path, kind: str) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for path in scan_files(folder, lambda name: _kind(name) == kind) if folder.is_dir() else []:
        match = FILE.fullmatch(path.name)
        assert match is not None
        if int(match[2]) in found:
            raise UserError(f"{folder} holds {found[int(match[2])].name} and {path.name}; keep one of them")
        found[int(match[2])] = path
    return found
