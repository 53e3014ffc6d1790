"""Arrays that the release of I-MMSeg makes of its folders: slices for training, volumes for the test.

`SEQUENCE/train_npz/CASE_sliceNNN.npz` and `SEQUENCE/test_vol_h5/CASE.npy.h5`, each with `image` and `label`:
(H,W) a slice, (H,W,Z) a volume. They hold no spacing. The layout follows a description; nobody compared it
with a folder of the release.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.io.nifti import NiftiImage
from episodes.prepare.downloads.cardiac_sequences import (
    RELEASE_VALUES,
    check_values,
    interleaved,
    sequence_pair,
)
from episodes.prepare.listing import scan_files
from episodes.prepare.scan import PreparedPair, RawScan
from episodes.store.dataset import DatasetSpec
from fewshot.base.errors import UserError, listed

SLICES, VOLUMES = "train_npz", "test_vol_h5"
SLICE_FILE = re.compile(r"\D*(\d+)_slice(\d+)\.npz")
VOLUME_FILE = re.compile(r"\D*(\d+)\.npy\.h5")
UNIT = (1.0, 1.0, 1.0)
DIRECTION = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
Arrays = tuple[NDArray[Any], NDArray[Any]]  # image and label


def detect(folder: Path) -> bool:
    """Return whether a folder below `folder` has slices of training."""
    return folder.is_dir() and any((each / SLICES).is_dir() for each in folder.iterdir())


def raw_scans(folder: Path, spec: DatasetSpec) -> dict[str, RawScan]:
    """Return all cases: those of the test, which are fold 0, then every fourth of the others fold by fold.

    Raises:
        UserError: a case lacks a sequence or a slice, stands in both folders, or the test has not a fifth of
            the cases.
    """
    training = _cases(folder, spec, SLICES, SLICE_FILE)
    tested = _cases(folder, spec, VOLUMES, VOLUME_FILE)
    both = sorted(set(training) & set(tested), key=int)
    if both:
        raise UserError(
            f"{folder} has case {listed(both, 5)} in {SLICES} and {VOLUMES}; take one of them out"
        )
    count = len(training) + len(tested)
    if len(tested) != count // 5 or not tested:
        raise UserError(
            f"{folder} has {len(tested)} cases in {VOLUMES} of {count}, expected {count // 5}: they "
            "are fold 0 of 5 folds of equal size; complete the folders"
        )
    others = interleaved(sorted(training, key=int), len(spec.fold_borders) - 2)
    cases = {**tested, **training}
    return {case: _raw_scan(case, cases[case], spec) for case in (*sorted(tested, key=int), *others)}


def _cases(
    folder: Path, spec: DatasetSpec, below: str, pattern: re.Pattern[str]
) -> dict[str, dict[str, tuple[Path, ...]]]:
    """Return case -> sequence -> its files in the order of slices."""
    found: dict[str, dict[str, dict[int, Path]]] = {}
    for name in spec.channels:
        inner = folder / name / below
        files = scan_files(inner, lambda file: pattern.fullmatch(file) is not None) if inner.is_dir() else []
        for path in files:
            match = pattern.fullmatch(path.name)
            assert match is not None
            place = int(match[2]) if pattern.groups == 2 else 0
            found.setdefault(str(int(match[1])), {}).setdefault(name, {})[place] = path
    for case, sequences in found.items():
        missing = [name for name in spec.channels if name not in sequences]
        places = {tuple(sorted(files)) for files in sequences.values()}
        if missing or places != {tuple(range(len(next(iter(sequences.values())))))}:
            counts = ", ".join(f"{len(sequences.get(name, ()))} of {name}" for name in spec.channels)
            raise UserError(
                f"case {case} in {folder} has {counts} in {below}, expected slices 0, 1, 2, ... of each "
                "sequence; complete the case or take it out"
            )
    return {
        case: {name: tuple(files[place] for place in sorted(files)) for name, files in sequences.items()}
        for case, sequences in found.items()
    }


def _raw_scan(case: str, files: Mapping[str, tuple[Path, ...]], spec: DatasetSpec) -> RawScan:
    ordered = tuple(files[name] for name in spec.channels)
    paths = tuple(path for each in ordered for path in each)

    def read() -> PreparedPair:
        volumes = [_volume(each) for each in ordered]
        shapes = {array.shape for volume in volumes for array in volume}
        if len(shapes) != 1:
            raise UserError(
                f"scan {case}: images and labels of the sequences have the shapes "
                f"{listed(map(str, sorted(shapes)))}, expected one shape; make the arrays again"
            )
        if any((label != volumes[0][1]).any() for _image, label in volumes):
            raise UserError(
                f"scan {case}: the labels of its sequences differ, expected equal ones; make the arrays again"
            )
        return _pair(case, [image for image, _label in volumes], volumes[0][1], paths[0], spec)

    return RawScan(paths, paths, read)


def _pair(
    case: str, images: Sequence[NDArray[Any]], label: NDArray[Any], path: Path, spec: DatasetSpec
) -> PreparedPair:
    """Return the pair of a case; `UserError` for values of the label that are no class."""
    known = {0, *(value for values in RELEASE_VALUES.values() for value in values)}
    check_values(f"scan {case}: the label", label, known, "make the arrays again")
    volumes = [NiftiImage(path, image.astype(np.float32), UNIT, (0.0,) * 3, DIRECTION) for image in images]
    mask = replace(volumes[0], array=label.astype(np.int16))
    return sequence_pair(volumes, mask, spec.image_size)


def _volume(files: tuple[Path, ...]) -> Arrays:
    """Return image and label (Z,H,W) of the files of one sequence."""
    if files[0].suffix == ".h5":
        image, label = _read_h5(files[0])
        return np.moveaxis(image, 2, 0), np.moveaxis(label, 2, 0)
    slices = [_read_npz(path) for path in files]
    if len({array.shape for each in slices for array in each}) != 1:
        raise UserError(f"{files[0].parent} has slices of several shapes in one case; make the arrays again")
    return np.stack([image for image, _label in slices]), np.stack([label for _image, label in slices])


def _read_npz(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = content["image"], content["label"]
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(path, error) from None
    return _checked(path, arrays, 2)


def _read_h5(path: Path) -> Arrays:
    try:
        import h5py
    except ImportError:
        raise UserError(f"reading {path} needs the package h5py; install fewshot-medseg[h5]") from None
    try:
        with h5py.File(path, "r") as content:
            arrays = np.asarray(content["image"]), np.asarray(content["label"])
    except (OSError, KeyError, TypeError) as error:
        raise _unreadable(path, error) from None
    return _checked(path, arrays, 3)


def _checked(path: Path, arrays: Arrays, axes: int) -> Arrays:
    if any(each.ndim != axes or each.dtype.kind not in "fiub" for each in arrays):
        kinds = " and ".join(f"{each.dtype} {each.shape}" for each in arrays)
        raise UserError(
            f"{path} holds {kinds}, expected image and label, numbers of {axes} axes; make it again"
        )
    if not all(np.isfinite(each).all() for each in arrays):
        raise UserError(f"{path} holds numbers that are not finite; make it again")
    return arrays


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} cannot be read ({error}), expected arrays image and label; make it again")
