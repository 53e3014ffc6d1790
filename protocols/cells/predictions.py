"""Predicted masks as NIfTI files, every slice of each query scan, in the prepared geometry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from episodes.io.nifti import read_nifti, write_nifti
from episodes.plan.plan import EvaluationPlan
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.types import Task
from fewshot.files.atomic_io import atomic_folder, cannot_write


class PredictionWriter:
    """Collects the masks of an evaluation: one uint8 volume (Z,Y,X) per class, scan and support set."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._volumes: dict[str, dict[tuple[str, int, str], NDArray[np.uint8]]] = {}

    def add(self, plan: EvaluationPlan, task: Task, masks: NDArray[np.bool_]) -> None:
        """Add the masks (Q,H,W) of a task; voxels outside of the model's square stay 0."""
        volumes = self._volumes.setdefault(plan.hash, {})
        scan = task.queries[0].scan
        shape = self._store.scan(scan).image.shape
        key = scan, task.class_value, support_suffix(plan, task)
        volume = volumes.setdefault(key, np.zeros(shape, dtype=np.uint8))
        height, width = masks.shape[1:]
        for ref, mask in zip(task.queries, masks, strict=True):
            volume[ref.z, :height, :width] = mask

    def write(self, plan: EvaluationPlan, folder: Path) -> None:
        """Write `scan_ID_label_K.nii.gz` (K: the stored class value) for every volume of `plan`.

        A plan with several supports in turn gives one file per support, `scan_ID_label_K_support_S.nii.gz`.
        The files are written to a temporary folder, which then replaces `folder`. Raises `UserError` for a
        full disk.
        """
        try:
            with atomic_folder(folder) as temporary:
                for (scan, value, support), volume in sorted(self._volumes.get(plan.hash, {}).items()):
                    stored = self._store.scan(scan)
                    write_nifti(
                        temporary / f"scan_{scan}_label_{value}{support}.nii.gz",
                        volume,
                        stored.spacing_mm,
                        stored.origin,
                        stored.direction,
                    )
        except OSError as error:
            raise cannot_write(folder, error) from error


def support_suffix(plan: EvaluationPlan, task: Task) -> str:
    """Return the part of a file name that names the support scans; empty for a plan with one support set."""
    scans = tuple(dict.fromkeys(ref.scan for ref in task.support))
    return "_support_" + "-".join(scans) if scans != plan.support_scans else ""


def read_prediction(folder: Path, store: Store, name: str, scan: str, suffix: str = "") -> NDArray[np.bool_]:
    """Return the saved mask (Z,H,W) of a class on a scan.

    Args:
        folder: the predictions of a cell.
        store: the dataset.
        name: a class.
        scan: a query scan.
        suffix: `support_suffix` of the task; "" for a plan with one support set.

    Raises:
        UserError: the file is missing, or its shape is not the scan's.
    """
    path = folder / f"scan_{scan}_label_{store.spec.classes[name]}{suffix}.nii.gz"
    if not path.is_file():
        raise UserError(f"{path} is missing; run the cell again with --overwrite --save-predictions")
    mask: NDArray[np.bool_] = read_nifti(path).array > 0
    shape = store.scan(scan).labels.shape
    if mask.shape != shape:
        raise UserError(f"{path} is {mask.shape}, expected {shape}; run the cell again with --overwrite")
    return mask
