"""The published layout: `image_ID.nii.gz` beside `label_ID.nii.gz`."""

from __future__ import annotations

import re
from pathlib import Path

from episodes.io.nifti import check_pair, read_label, read_nifti
from episodes.prepare.build import build_store
from episodes.prepare.crop_pad import square_pair
from episodes.prepare.listing import list_folder, scan_files
from episodes.prepare.scan import PreparedPair, RawScan, id_order, pair_of
from episodes.store.dataset import DatasetSpec
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.files.names import checked_name

FILE = re.compile(r"(image|label)_(.+?)\.nii(\.gz)?")
Pair = tuple[Path, Path]


def find_pairs(folder: Path, spec: DatasetSpec) -> dict[str, Pair]:
    """Return scan id -> (image file, label file), ids in integer order.

    Raises `UserError` if the folder is missing or empty, a file has no partner, an id is not the dataset's,
    or the number of scans does not fit the folds.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder; give the one that holds image_ID.nii.gz and label_ID.nii.gz"
        )
    found: dict[str, dict[str, Path]] = {"image": {}, "label": {}}
    for path in scan_files(folder, lambda name: FILE.fullmatch(name) is not None):
        match = FILE.fullmatch(path.name)
        assert match is not None
        kind, scan = match[1], checked_name("scan", match[2])
        if scan in found[kind]:
            raise UserError(f"{folder} holds {found[kind][scan].name} and {path.name}; keep one of them")
        found[kind][scan] = path
    images, labels = found["image"], found["label"]
    if not images and not labels:
        raise UserError(f"{folder} holds no image_ID.nii.gz; give the folder of the published layout")
    for kind, alone in (("label", images.keys() - labels.keys()), ("image", labels.keys() - images.keys())):
        if alone:
            raise UserError(
                f"{folder}: no {kind}_{min(alone, key=id_order)}.nii.gz beside its partner; add it"
            )
    scans = sorted(images, key=id_order)
    check_ids(folder, scans, spec)
    return {scan: (images[scan], labels[scan]) for scan in scans}


def detect(folder: Path) -> bool:
    """Return whether the folder holds files of this layout."""
    return any(FILE.fullmatch(path.name) for path in list_folder(folder))


def raw_scans(folder: Path, spec: DatasetSpec) -> dict[str, RawScan]:
    """Return the scans of the folder; errors as `find_pairs`."""
    return {
        scan: raw_scan(scan, image_file, label_file, spec)
        for scan, (image_file, label_file) in find_pairs(folder, spec).items()
    }


def prepare_published(
    folder: Path, spec: DatasetSpec, destination: Path, *, overwrite: bool = False
) -> Store:
    """Prepare a folder of this layout at `destination` and return the store; errors as `build_store`."""
    scans = raw_scans(folder, spec)
    return build_store(scans, spec, destination, overwrite=overwrite, prepared_by="published-layout")


def raw_scan(scan: str, image_file: Path, label_file: Path, spec: DatasetSpec) -> RawScan:
    """Return the scan of an image and a label file; its `read` checks them as a pair."""

    def read() -> PreparedPair:
        image, label = read_nifti(image_file), read_label(label_file)
        check_pair(scan, image, label, spec.classes)
        pair = pair_of(image, label, image)
        return square_pair(pair, spec.image_size) if spec.crop_or_pad else pair

    return RawScan((image_file,), (label_file,), read)


def check_ids(folder: Path, scans: list[str], spec: DatasetSpec) -> None:
    """Raise `UserError` if `scans` are not the ids of the dataset, or their number does not fit its folds."""
    missing, extra = set(spec.scans) - set(scans), set(scans) - set(spec.scans)
    if spec.scans and missing:
        names = ", ".join(sorted(missing, key=id_order)[:5])
        raise UserError(
            f"{folder} holds {len(scans)} scans, too few for the folds of {spec.name}, expected "
            f"{len(spec.scans)}: {len(missing)} are missing ({names}{', ...' if len(missing) > 5 else ''}); "
            "add their image and label files"
        )
    if spec.scans and extra:
        names = ", ".join(sorted(extra, key=id_order)[:5])
        raise UserError(f"{folder} holds scans that {spec.name} does not have ({names}); take them away")
    if len(scans) != spec.fold_borders[-1]:
        raise UserError(
            f"{folder} holds {len(scans)} scans, the folds of {spec.name} need {spec.fold_borders[-1]}; "
            "complete the set or change fold_borders"
        )
