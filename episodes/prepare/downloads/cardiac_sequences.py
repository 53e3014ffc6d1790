"""Registered cardiac sequences with labels of scar and edema: MyoPS 2020 and the folders of I-MMSeg.

MyoPS: `CASE_C0.nii.gz`, `CASE_DE.nii.gz` (or LGE), `CASE_T2.nii.gz` and `CASE_gd.nii.gz`. The release:
`Raw_data/{bSSFP,LGE,T2w,label}/caseNNNN.nii.gz`, the labels with `_gt` behind the case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.io.nifti import NiftiImage, check_pair, read_label, read_nifti
from episodes.prepare.crop_pad import centred, square_pair
from episodes.prepare.listing import scan_files
from episodes.prepare.own_data.label_maps import with_class_values
from episodes.prepare.scan import PreparedPair, RawScan, pair_of
from episodes.store.dataset import DatasetSpec
from fewshot.base.errors import UserError, listed

FILE = re.compile(r"\D*(\d+)_(C0|LGE|DE|T2|gd)\.nii(?:\.gz)?")
CASE = re.compile(r"case(\d+)(?:_gt)?\.nii(?:\.gz)?")
SEQUENCE_OF = {"C0": "bSSFP", "LGE": "LGE", "DE": "LGE", "T2": "T2w", "gd": "label"}
FOLDERS = ("bSSFP", "LGE", "T2w", "label")
# stored class -> values in the files; blood pools are background
MYOPS_VALUES = {"myocardium": (200,), "scar": (2221,), "edema": (1220,)}
BACKGROUND = (500, 600)
RELEASE_VALUES = {"myocardium": (1,), "scar": (2,), "edema": (3,)}


def detect_myops(folder: Path) -> bool:
    """Return whether the folder or one below it holds labels of MyoPS."""
    return any(FILE.fullmatch(path.name) for path in folder.rglob("*_gd.nii*"))


def detect_release(folder: Path) -> bool:
    """Return whether the folder has a folder for each sequence and one for labels."""
    return all((_raw_data(folder) / name).is_dir() for name in FOLDERS)


def myops_scans(folder: Path, spec: DatasetSpec) -> dict[str, RawScan]:
    """Return the cases under the numbers in their names; `UserError` for a case that lacks a sequence."""
    cases: dict[str, dict[str, Path]] = {}
    for path in scan_files(folder, lambda name: FILE.fullmatch(Path(name).name) is not None, below=True):
        match = FILE.fullmatch(path.name)
        assert match is not None
        _add(cases, str(int(match[1])), SEQUENCE_OF[match[2]], path)
    return _complete(folder, cases, spec, MYOPS_VALUES, BACKGROUND)


def release_scans(folder: Path, spec: DatasetSpec) -> dict[str, RawScan]:
    """Return the cases under the numbers in their names, fold by fold, each fold with every fifth case.

    Fold 0 is what the release tests: the first case and every fifth after it. `UserError` for a case that
    lacks a sequence.
    """
    cases: dict[str, dict[str, Path]] = {}
    for name in FOLDERS:
        for path in scan_files(_raw_data(folder) / name, lambda file: CASE.fullmatch(file) is not None):
            match = CASE.fullmatch(path.name)
            assert match is not None
            _add(cases, str(int(match[1])), name, path)
    scans = _complete(folder, cases, spec, RELEASE_VALUES, ())
    return {case: scans[case] for case in interleaved(tuple(scans), len(spec.fold_borders) - 1)}


def interleaved(cases: Sequence[str], folds: int) -> tuple[str, ...]:
    """Return the cases fold by fold: case i is in fold i modulo `folds`.

    Folds that are cut evenly (`with_even_folds`) then hold these cases. Cases at the end that fill no round
    of all folds go to the folds that are larger by one.
    """
    rounds = len(cases) // folds
    rest = iter(cases[rounds * folds :])
    order: list[str] = []
    for fold in range(folds):
        order += cases[fold : rounds * folds : folds]
        if (fold + 1) * len(cases) // folds - fold * len(cases) // folds > rounds:
            order.append(next(rest))
    return tuple(order)


def _raw_data(folder: Path) -> Path:
    return folder / "Raw_data" if (folder / "Raw_data").is_dir() else folder


def _add(cases: dict[str, dict[str, Path]], case: str, sequence: str, path: Path) -> None:
    files = cases.setdefault(case, {})
    if sequence in files:
        raise UserError(f"case {case} has {files[sequence]} and {path}, expected one; keep one of them")
    files[sequence] = path


def _complete(
    folder: Path, cases: Mapping[str, Mapping[str, Path]], spec: DatasetSpec,
    values: Mapping[str, tuple[int, ...]], background: tuple[int, ...],
) -> dict[str, RawScan]:  # fmt: skip
    """Return the scans of all cases in the order of their numbers."""
    if len(cases) < 2:
        raise UserError(f"{folder} holds {len(cases)} cases, expected 2 or more; give the training data")
    parts = (*spec.channels, "label")
    for case, files in cases.items():
        missing = [name for name in parts if name not in files]
        if missing:
            raise UserError(
                f"case {case} in {folder} has {listed(sorted(files))} and no {listed(missing)}, expected "
                f"{listed(parts)}; complete the case or take it out"
            )
    return {case: _raw_scan(case, cases[case], spec, values, background) for case in sorted(cases, key=int)}


def _raw_scan(
    case: str, files: Mapping[str, Path], spec: DatasetSpec, values: Mapping[str, tuple[int, ...]],
    background: tuple[int, ...],
) -> RawScan:  # fmt: skip
    images = tuple(files[name] for name in spec.channels)

    def read() -> PreparedPair:
        volumes = [read_nifti(path) for path in images]
        label = _stored_values(read_label(files["label"]), spec, values, background)
        for volume in volumes:
            check_pair(case, volume, label, spec.classes)
        return sequence_pair(volumes, label, spec.image_size)

    return RawScan(images, (files["label"],), read)


def sequence_pair(volumes: Sequence[NiftiImage], label: NiftiImage, size: int) -> PreparedPair:
    """Return registered sequences and their label at `size` x `size` pixels, the sequences as channels."""
    pair = square_pair(pair_of(volumes[0], label, volumes[0]), size)
    channels = [centred(volume, size, volume.array.min()).array for volume in volumes]
    dtype = np.result_type(*channels)
    image = replace(pair.image, array=pair.image.array.astype(dtype))
    return replace(pair, image=image, channels=np.stack([each.astype(dtype) for each in channels]))


def _stored_values(
    label: NiftiImage, spec: DatasetSpec, values: Mapping[str, tuple[int, ...]], background: tuple[int, ...]
) -> NiftiImage:
    """Return a label with the dataset's values; `UserError` with all values for an unknown one."""
    known = {0, *background, *(value for group in values.values() for value in group)}
    check_values(str(label.path), label.array, known, f"check that it is a label of {spec.title}")
    cleared = replace(label, array=np.where(np.isin(label.array, background), 0, label.array))
    return with_class_values(cleared, values, spec.classes)


def check_values(name: str, label: NDArray[Any], known: set[int], remedy: str) -> None:
    """Raise `UserError` with all values of a label, called `name`, if one of them is not known."""
    found = np.unique(label).tolist()
    if not set(found) <= known:
        raise UserError(
            f"{name} holds the values {listed((f'{value:.10g}' for value in found), 10)}, expected "
            f"only {listed(sorted(known))}; {remedy}"
        )
