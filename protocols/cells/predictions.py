"""Saved predictions of a cell: label maps on the original voxels, and the masks that its record counts.

The folder of a cell holds

- `scan_ID.nii.gz`: one label map per query scan with the stored class values, on the voxels and with the
  header of the scan's file, or, with the grid "store", on the prepared slices. A scan without an original
  grid (phantoms, stores of older versions) has only the latter;
- `counted/scan_ID_label_K.nii.gz`: for each class value K the mask on the prepared slices, 0 and 1, voxel by
  voxel as it was counted;
- `masks.json`: the grid, the classes, and how many voxels of each label map lie in several masks.

A plan with several supports in turn gives files for each support, whose names end in `_support_S`. Folders of
older versions hold only the masks of `counted`, directly.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from episodes.io.nifti import read_nifti, write_nifti
from episodes.io.original_grid import mask_to_original_grid
from episodes.plan.plan import EvaluationPlan
from episodes.store.scan import StoredScan
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.types import Task
from fewshot.files.atomic_io import atomic_folder, cannot_write
from fewshot.files.seals import read_sealed, write_sealed
from protocols.cells.label_map import merge_masks

GRIDS = ("original", "store")
COUNTED = "counted"
FACTS = "masks.json"
SCHEMA = 1
REMEDY = "run the cell again with --overwrite --save-predictions"


class PredictionWriter:
    """Collects the masks of an evaluation: one bool volume (Z,Y,X) per class, scan and support set."""

    def __init__(self, store: Store, grid: str = "original") -> None:
        self._store, self._grid = store, grid
        self._volumes: dict[str, dict[tuple[str, str], dict[int, NDArray[np.bool_]]]] = {}

    def add(self, plan: EvaluationPlan, task: Task, masks: NDArray[np.bool_]) -> None:
        """Add the masks (Q,H,W) of a task; voxels outside of the model's square stay False."""
        scan = task.queries[0].scan
        classes = self._classes(plan, scan, support_suffix(plan, task))
        if task.class_value not in classes:
            classes[task.class_value] = np.zeros(self._store.scan(scan).image.shape, dtype=bool)
        height, width = masks.shape[1:]
        for ref, mask in zip(task.queries, masks, strict=True):
            classes[task.class_value][ref.z, :height, :width] = mask

    def add_volume(self, plan: EvaluationPlan, task: Task, mask: NDArray[np.bool_]) -> None:
        """Add the mask (Z,Y,X) of a task's class on the prepared slices of its query scan."""
        self._classes(plan, task.queries[0].scan, support_suffix(plan, task))[task.class_value] = mask

    def write(self, plan: EvaluationPlan, folder: Path) -> None:
        """Write the folder of a cell, as the module describes it, in place of an older one.

        The files are written to a temporary folder, which then replaces `folder`. Raises `UserError` for a
        full disk.
        """
        overlaps = {}
        try:
            with atomic_folder(folder) as temporary:
                (temporary / COUNTED).mkdir()
                for (scan, support), classes in sorted(self._volumes.get(plan.hash, {}).items()):
                    stored = self._store.scan(scan)
                    for value, mask in sorted(classes.items()):
                        name = f"scan_{scan}_label_{value}{support}.nii.gz"
                        _write_on_store_grid(temporary / COUNTED / name, mask, stored)
                    name = f"scan_{scan}{support}.nii.gz"
                    label_map, overlaps[name] = label_map_of(classes, stored, self._grid)
                    write_label_map(temporary / name, label_map, stored, self._grid)
                values = {name: self._store.spec.classes[name] for name in plan.classes}
                facts = {"schema": SCHEMA, "grid": self._grid, "classes": values, "in_several": overlaps}
                write_sealed(temporary / FACTS, facts)
        except OSError as error:
            raise cannot_write(folder, error) from error

    def _classes(self, plan: EvaluationPlan, scan: str, suffix: str) -> dict[int, NDArray[np.bool_]]:
        return self._volumes.setdefault(plan.hash, {}).setdefault((scan, suffix), {})


def label_map_of(
    classes: dict[int, NDArray[np.bool_]], stored: StoredScan, grid: str
) -> tuple[NDArray[np.uint8], int]:
    """Return the label map of a scan on a grid, and how many of its voxels lie in several masks.

    Args:
        classes: class value -> mask (Z,Y,X) on the prepared slices.
        stored: the scan.
        grid: "original" or "store".
    """
    if grid == "original" and stored.original is not None:
        original = stored.original
        classes = {value: mask_to_original_grid(mask, original) for value, mask in classes.items()}
    return merge_masks(classes)


def write_label_map(path: Path, label_map: NDArray[np.uint8], stored: StoredScan, grid: str) -> None:
    """Write a label map of `label_map_of` with the header of its grid."""
    original = stored.original
    if grid == "store" or original is None:
        _write_on_store_grid(path, label_map, stored)
        return
    affine = None if original.affine is None else np.reshape(original.affine, (4, 4))
    write_nifti(path, label_map, original.spacing_mm, original.origin, original.direction, affine)


def _write_on_store_grid(path: Path, array: NDArray[np.bool_ | np.uint8], stored: StoredScan) -> None:
    write_nifti(path, array, stored.spacing_mm, stored.origin, stored.direction)


def saved_grid(folder: Path) -> str | None:
    """Return the grid of a cell's label maps: "original" or "store", None without saved predictions.

    A folder of an older version has masks on the store's grid. Raises `UserError` for edited facts.
    """
    if not folder.exists():
        return None
    if not (folder / FACTS).is_file():
        return "store"
    return str(read_sealed(folder / FACTS, REMEDY)["grid"])


def support_suffix(plan: EvaluationPlan, task: Task) -> str:
    """Return the part of a file name that names the support scans; empty for a plan with one support set."""
    scans = tuple(dict.fromkeys(ref.scan for ref in task.support))
    return "_support_" + "-".join(scans) if scans != plan.support_scans else ""


def counted_file(folder: Path, scan: str, value: int, suffix: str = "") -> Path:
    """Return the path of the mask that a cell's record counts, also in a folder of an older version.

    Args:
        folder: the predictions of a cell.
        scan: a query scan.
        value: the stored value of a class.
        suffix: `support_suffix` of the task; "" for a plan with one support set.
    """
    home = folder / COUNTED if (folder / FACTS).is_file() else folder
    return home / f"scan_{scan}_label_{value}{suffix}.nii.gz"


def read_prediction(folder: Path, store: Store, name: str, scan: str, suffix: str = "") -> NDArray[np.bool_]:
    """Return the saved mask (Z,H,W) of a class on the prepared slices of a scan, as it was counted.

    Args:
        folder: the predictions of a cell.
        store: the dataset.
        name: a class.
        scan: a query scan.
        suffix: `support_suffix` of the task; "" for a plan with one support set.

    Raises:
        UserError: the file is missing, or its shape is not the scan's.
    """
    path = counted_file(folder, scan, store.spec.classes[name], suffix)
    if not path.is_file():
        raise UserError(f"{path} is missing; {REMEDY}")
    mask: NDArray[np.bool_] = read_nifti(path).array > 0
    shape = store.scan(scan).labels.shape
    if mask.shape != shape:
        raise UserError(f"{path} is {mask.shape}, expected {shape}; run the cell again with --overwrite")
    return mask
