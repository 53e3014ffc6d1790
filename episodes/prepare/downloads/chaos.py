"""The CHAOS download of abdominal MR: T2-SPIR and T1-DUAL images as DICOM slices, organs as PNG masks.

`MR/ID/T2SPIR/DICOM_anon/*.dcm` and `MR/ID/T2SPIR/Ground/*.png`; for T1
`MR/ID/T1DUAL/DICOM_anon/InPhase/*.dcm`, `OutPhase` beside it, and one `Ground/*.png` for both phases. DICOM
rows run from front to back. The rows of the published volumes, on which all results were computed, run from
back to front; this module flips them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from episodes.io.dicom import read_series
from episodes.io.nifti import NiftiImage, after_step, check_pair
from episodes.io.original_grid import Reorient
from episodes.io.simpleitk_io import read_picture
from episodes.prepare.abdomen import prepare_mr, prepare_mr_label
from episodes.prepare.listing import scan_files
from episodes.prepare.paired_nifti import check_ids
from episodes.prepare.scan import PreparedPair, RawScan, id_order, pair_of
from episodes.store.dataset import DatasetSpec
from fewshot.base.errors import UserError
from fewshot.files.names import checked_name

PLACES = (".", "MR", "Train_Sets/MR", "CHAOS_Train_Sets/Train_Sets/MR")
SERIES = "T2SPIR"
T1_SERIES = "T1DUAL"
# dataset -> series, and the folder of its slices in the series
IMAGES = {
    "chaost2": (SERIES, "DICOM_anon"),
    "chaost1-in": (T1_SERIES, "DICOM_anon/InPhase"),
    "chaost1-out": (T1_SERIES, "DICOM_anon/OutPhase"),
}
PNG_VALUES = {"liver": 63, "right-kidney": 126, "left-kidney": 189, "spleen": 252}
ALONG = 0.5  # cosine above which an axis runs along a direction
LAST_NUMBER = re.compile(r"(\d+)\D*")


def detect(folder: Path) -> bool:
    """Return whether the folder is the download, its folder Train_Sets or its folder MR."""
    return _home(folder, SERIES) is not None


def detect_t1(folder: Path) -> bool:
    """Return whether the folder is the download with T1-DUAL series, as `detect`."""
    return _home(folder, T1_SERIES) is not None


def raw_scans(folder: Path, spec: DatasetSpec) -> dict[str, RawScan]:
    """Return the scans under the numbers of the download, in integer order.

    Raises `UserError` for ids that are not the dataset's, for missing ones, and for folders without files.
    """
    series, images_folder = IMAGES.get(spec.name, IMAGES["chaost2"])
    home = _home(folder, series)
    if home is None:
        raise UserError(f"{folder} holds no MR/ID/{series}; give the folder of the CHAOS download")
    folders = {
        checked_name("scan", path.name): path / series for path in home.iterdir() if (path / series).is_dir()
    }
    scans = sorted(folders, key=id_order)
    check_ids(home, scans, spec)
    found = {}
    for scan in scans:
        images, labels = (
            _files(folders[scan] / kind, suffixes)
            for kind, suffixes in ((images_folder, (".dcm", ".ima")), ("Ground", (".png",)))
        )
        found[scan] = _raw_scan(scan, images, labels, spec)
    return found


def _home(folder: Path, series: str) -> Path | None:
    for place in PLACES:
        home = folder / place
        if home.is_dir() and any((path / series).is_dir() for path in home.iterdir()):
            return home
    return None


def _files(folder: Path, suffixes: tuple[str, ...]) -> tuple[Path, ...]:
    """Return the files with one of the endings, in either case."""
    files = scan_files(folder, lambda name: name.lower().endswith(suffixes)) if folder.is_dir() else []
    if not files:
        raise UserError(f"{folder} holds no {' or '.join(suffixes)} files; complete the download")
    return tuple(files)


def _raw_scan(scan: str, images: tuple[Path, ...], labels: tuple[Path, ...], spec: DatasetSpec) -> RawScan:
    def read() -> PreparedPair:
        image, label = read_pair(scan, images, labels, spec)
        check_pair(scan, image, label, spec.classes)
        return pair_of(prepare_mr(image), prepare_mr_label(label, spec.classes.values()), image)

    return RawScan(images, labels, read)


def read_pair(
    scan: str, images: Sequence[Path], labels: Sequence[Path], spec: DatasetSpec
) -> tuple[NiftiImage, NiftiImage]:
    """Return the image, rows from back to front and slices upwards, and its label in the dataset's values.

    Args:
        scan: id of the scan, for messages.
        images: DICOM slices.
        labels: PNG masks.
        spec: facts of the dataset.

    Raises:
        UserError: as `read_series`; a slice or a mask without its partner, a mask of another size, or a value
            that is not an organ's.
    """
    series, order = read_series(images)
    masks = _masks_of(images, labels)
    if len(labels) != len(images):
        raise UserError(
            f"scan {scan}: {labels[0].parent} holds {len(labels)} masks, expected {len(images)} as there are "
            "DICOM slices; complete the download"
        )
    values = {0: 0} | {png: spec.classes[name] for name, png in PNG_VALUES.items() if name in spec.classes}
    slices = []
    for file in order:
        if _number(file) not in masks:
            raise UserError(
                f"scan {scan}: no mask in {labels[0].parent} has the number of {file.name}; the names of "
                "DICOM slices and masks must pair, fetch them again"
            )
        slices.append(_mask(masks[_number(file)], series.array.shape[1:], values))
    label = replace(series, path=labels[0].parent, array=np.stack(slices))
    return flip_rows(series), flip_rows(label)


def _masks_of(images: Sequence[Path], labels: Sequence[Path]) -> dict[int, Path]:
    """Return the mask of each slice number.

    Both phases of T1-DUAL share their masks, and their files have alternating numbers. Masks whose numbers
    are not those of the phase belong to its slices in their order.
    """
    masks = {_number(path): path for path in labels}
    numbers = sorted(_number(path) for path in images)
    is_phase = any(path.parent.name in ("InPhase", "OutPhase") for path in images)
    if is_phase and sorted(masks) != numbers and len(masks) == len(numbers):
        return {number: masks[other] for number, other in zip(numbers, sorted(masks), strict=True)}
    return masks


def _mask(path: Path, shape: tuple[int, ...], values: dict[int, int]) -> NDArray[np.uint8]:
    picture = read_picture(path)
    if picture.shape != shape:
        raise UserError(
            f"{path} has {picture.shape[0]} x {picture.shape[1]} pixels, expected {shape[0]} x {shape[1]} as "
            "its DICOM slice has; fetch both again"
        )
    mask = np.zeros(picture.shape, dtype=np.uint8)
    for value in np.unique(picture).tolist():
        if value not in values:
            raise UserError(
                f"{path} holds the unknown value {value:.10g}; known: {', '.join(map(str, sorted(values)))}; "
                "fetch the mask again"
            )
        mask[picture == value] = values[value]
    return mask


def rows_run_to_back(volume: NiftiImage) -> bool:
    """Return whether the rows of an axial volume run from front to back, as those of the download's DICOM."""
    return volume.direction[4] > ALONG


def flip_rows(volume: NiftiImage) -> NiftiImage:
    """Return a volume with its rows in the other order; every voxel keeps its place in mm."""
    direction = np.reshape(volume.direction, (3, 3)) * [1.0, -1.0, 1.0]
    step = direction[:, 1] * volume.spacing_mm[1] * (volume.array.shape[1] - 1)
    x, y, z = (float(value) for value in np.asarray(volume.origin) - step)
    return after_step(
        volume,
        Reorient((0, 1, 2), (False, True, False)),
        array=np.ascontiguousarray(volume.array[:, ::-1]),
        origin=(x, y, z),
        direction=tuple(direction.ravel().tolist()),
    )


def _number(path: Path) -> int:
    numbers = LAST_NUMBER.findall(path.stem)
    if not numbers:
        raise UserError(f"{path}: the name holds no slice number; expected e.g. IMG-0001-00012")
    return int(numbers[-1])
