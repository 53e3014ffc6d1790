"""Files with masks of another program: found by a plan, read, and brought to the prepared slices."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.io.geometry import Grid, affine_of, grid_difference, onto_axes
from episodes.io.nifti import NiftiImage
from episodes.io.original_grid import is_resampled, mask_to_original_grid, mask_to_store_grid
from episodes.io.volume_formats import SUFFIXES, read_label_volume
from episodes.plan.plan import EvaluationPlan
from episodes.store.scan import StoredScan
from episodes.store.store import Store
from fewshot.base.errors import UserError, listed
from fewshot.files.atomic_io import hash_of, sha256_of
from fewshot.files.seals import read_sealed
from protocols.cells.predictions import COUNTED, FACTS, REMEDY
from protocols.file_pattern import fill_fold_and_group

FileKey = tuple[int, str, str, str]  # fold, group, class, query scan


@dataclass(frozen=True)
class ScanMasks:
    """Masks of a scan on its prepared slices: `classes`, class value -> (Z,Y,X) bool.

    `from_original`: whether the file has the scan's original voxels, so the masks were brought here.
    """

    classes: Mapping[int, NDArray[np.bool_]]
    from_original: bool


def prediction_files(
    pattern: str, plans: Sequence[EvaluationPlan], grid: str = "original"
) -> dict[FileKey, Path]:
    """Return (fold, group, class, scan) -> file for every mask that the plans need.

    The file is the scan's label map, `scan_ID.nii.gz` or another format that is read, else the class's mask,
    `scan_ID_label_K.nii.gz`.

    Args:
        pattern: a folder; `{fold}` and `{group}` in it are replaced.
        plans: the plans.
        grid: "store": of a folder of `fewshot run --save-predictions`, the masks that its record counts.

    Raises:
        UserError: files are missing (with the first file and their number), a scan has label maps and masks,
            or one file would serve two folds.
    """
    files: dict[FileKey, Path] = {}
    maps: dict[tuple[Path, str], Path | None] = {}
    for plan in plans:
        folder = fill_fold_and_group(pattern, plan.fold, plan.group, "predictions")
        if grid == "store" and (folder / COUNTED).is_dir():
            folder = folder / COUNTED
        for task in plan.tasks:
            if task.queries:
                scan = task.queries[0].scan
                if (folder, scan) not in maps:
                    maps[folder, scan] = _label_map(folder, scan)
                single = folder / f"scan_{scan}_label_{task.class_value}.nii.gz"
                label_map = maps[folder, scan]
                if label_map is not None and single.is_file():
                    raise UserError(
                        f"predictions: {folder} holds {label_map.name} and {single.name}; keep one of them"
                    )
                files[plan.fold, plan.group, task.class_name, scan] = label_map or single
    missing = [path for path in dict.fromkeys(files.values()) if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 1} more are missing" if len(missing) > 1 else " is missing"
        raise UserError(
            f"predictions: {missing[0]}{more} of {len(set(files.values()))} files that the plan needs; "
            "write one for every query scan and class, also if its mask is empty, or one label map a scan, "
            f"{missing[0].name.partition('_label_')[0]}.nii.gz"
        )
    fold_of: dict[Path, int] = {}
    for (fold, _group, _class, _scan), path in files.items():
        if fold_of.setdefault(path, fold) != fold:
            raise UserError(
                f"predictions: {path} would serve folds {fold_of[path]} and {fold}, which differ in their "
                "support; give a folder per fold, with {fold} in its name"
            )
    return files


def _label_map(folder: Path, scan: str) -> Path | None:
    """Return the file of a scan's label map, None without one; `UserError` for two."""
    found = [path for suffix in SUFFIXES if (path := folder / f"scan_{scan}{suffix}").is_file()]
    if len(found) > 1:
        raise UserError(f"predictions: {folder} holds {found[0].name} and {found[1].name}; keep one of them")
    return found[0] if found else None


def hash_of_files(paths: Sequence[Path]) -> str:
    """Return 16 hex digits of a hash over the names and bytes of prediction files."""
    return hash_of(sorted([path.name, sha256_of(path)] for path in dict.fromkeys(paths)))[:16]


def read_masks(path: Path, store: Store, scan: str, value: int, grid: str = "original") -> ScanMasks:
    """Return the masks in a file on the prepared slices of a scan, in the axes of the store.

    Voxels are those of the prepared slices or of the scan's file; the header says which. Axes may have
    another order or sense.

    Args:
        path: a label map, or the mask of one class, by its name.
        store: the dataset.
        scan: a query scan.
        value: the stored value of the class of a mask; a label map has every class.
        grid: "store" refuses masks on the voxels of the scan's file.

    Raises:
        UserError: another shape or grid, or a value that is no class.
    """
    volume, stored = read_label_volume(path), store.scan(scan)
    if path.name.startswith(f"scan_{scan}_label_"):
        masks = {value: _one_class(path, volume.array)}
    else:
        masks = _classes(path, volume.array, store)
    array, placed = onto_axes(volume.array, volume, stored)
    if array.shape == stored.image.shape and grid_difference(placed, stored) is None:
        on_store = {each: onto_axes(mask, volume, stored)[0] for each, mask in masks.items()}
        return ScanMasks(on_store, from_original=False)
    original = stored.original
    if original is None or grid == "store":
        raise _wrong_grid(path, array, placed, stored, store)
    array, placed = onto_axes(volume.array, volume, original)
    if array.shape != original.shape or grid_difference(placed, original) is not None:
        raise _no_grid(path, volume, stored)
    there = {each: onto_axes(mask, volume, original)[0] for each, mask in masks.items()}
    brought = {each: mask_to_store_grid(mask, original) for each, mask in there.items()}
    return ScanMasks(brought, from_original=True)


def _one_class(path: Path, array: NDArray[Any]) -> NDArray[np.bool_]:
    strange = np.setdiff1d(np.unique(array), (0, 1))
    if strange.size:
        raise UserError(
            f"{path} holds the value {float(strange[0]):.17g}, expected only 0 and 1; write one mask per "
            "class and cut probabilities at 0.5"
        )
    inside: NDArray[np.bool_] = array == 1
    return inside


def _classes(path: Path, array: NDArray[Any], store: Store) -> dict[int, NDArray[np.bool_]]:
    known = store.spec.classes
    strange = np.setdiff1d(np.unique(array), (0, *known.values()))
    if strange.size:
        names = listed(f"{value} {name}" for name, value in known.items())
        raise UserError(
            f"{path} holds the value {float(strange[0]):.17g}, expected only 0 and the classes of "
            f"{store.spec.name}: {names}; write a label map with these values"
        )
    return {value: array == value for value in known.values()}


def _wrong_grid(path: Path, array: NDArray[Any], placed: Grid, stored: StoredScan, store: Store) -> UserError:
    """Return the error for a mask that is not on the store's grid, the only one that is possible."""
    if array.shape != stored.image.shape:
        return UserError(
            f"{path} has shape {array.shape} (z,y,x), expected {stored.image.shape}, that of scan "
            f"{stored.scan_id} in {store.path}; predict on the prepared volumes, uncut"
        )
    difference = grid_difference(placed, stored)
    return UserError(
        f"{path} has {difference} as scan {stored.scan_id} in {store.path}; write the mask with the scan's "
        f"affine {_affine_text(stored)}"
    )


def _no_grid(path: Path, volume: NiftiImage, stored: StoredScan) -> UserError:
    """Return the error for a mask that fits neither the scan's file nor its prepared slices."""
    original = stored.original
    assert original is not None
    array, placed = onto_axes(volume.array, volume, original)
    if array.shape == original.shape:
        found = f"{grid_difference(placed, original)} as {original.image} has"
    else:
        found = (
            f"shape {volume.array.shape} (z,y,x), expected {original.shape} as {original.image} has, or "
            f"{stored.image.shape} as the prepared slices have"
        )
    return UserError(
        f"{path} has {found}; write the mask of scan {stored.scan_id} on the voxels and with the affine of "
        "its image"
    )


def _affine_text(stored: StoredScan) -> str:
    """Return the rows of a scan's NIfTI affine, from voxel (x,y,z) to mm, as a user's program needs them."""
    grid = Grid(stored.spacing_mm, stored.origin, stored.direction)
    rows = affine_of(grid)[:3].tolist()
    return str([[float(f"{value:.7g}") for value in row] for row in rows])


def grid_note(store: Store, scans: Collection[str], values: Collection[int]) -> str | None:
    """Return a line on scores of masks that were brought from the original voxels; None without any.

    The line says how far such a score can differ: what Dice the annotations themselves keep on their way from
    the prepared slices to the original voxels and back.

    Args:
        store: the dataset.
        scans: query scans whose masks were brought.
        values: class values that are scored.
    """
    if not scans:
        return None
    beginning = f"masks of {len(scans)} scans lie on the original voxels and were brought to the store's grid"
    dices = [
        _dice(truth, mask_to_store_grid(mask_to_original_grid(truth, original), original))
        for scan in scans
        if (original := store.scan(scan).original) is not None and is_resampled(original)
        for value in values
        if (truth := np.asarray(store.scan(scan).labels == value)).any()
    ]
    if not dices:
        return f"{beginning}; nothing is resampled, so voxels of the image keep their class"
    mean = sum(dices) / len(dices)
    return (
        f"{beginning}, which resamples them: the annotations, taken there and back, keep a Dice of "
        f"{100 * mean:.2f} % on average and {100 * min(dices):.2f} % at least, so scores may differ by as "
        "much; masks on the store's grid are counted exactly"
    )


def overlap_note(paths: Collection[Path]) -> str | None:
    """Return a line if label maps of a run, among the scored files, have voxels that lie in several masks."""
    folders = {path.parent for path in paths if (path.parent / FACTS).is_file()}
    several = sum(
        sum(read_sealed(folder / FACTS, REMEDY)["in_several"].values()) for folder in sorted(folders)
    )
    if not several:
        return None
    return (
        f"{several} voxels lie in the masks of several classes; a label map gives each to one class, so "
        "scores differ from those of the run; --grid store counts every mask as it was predicted"
    )


def _dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return 2 * int((first & second).sum()) / (int(first.sum()) + int(second.sum()))
