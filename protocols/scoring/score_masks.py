"""Scores of masks that another program wrote: counted under a plan, as a run counts its own masks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from episodes.io.geometry import Grid, affine_of, grid_difference, onto_axes
from episodes.io.nifti import read_label
from episodes.plan.plan import EvaluationPlan
from episodes.store.scan import StoredScan
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.types import ScanScore, Task
from fewshot.files.atomic_io import hash_of, sha256_of
from fewshot.files.names import checked_name
from protocols.cells.cell_record import cell_record, key_of_cell, log_cell
from protocols.cells.evaluate import Evaluation
from protocols.cells.evaluate_cells import cells_locked
from protocols.file_pattern import fill_fold_and_group
from protocols.request import Request
from protocols.rules.audits import audit_evaluation
from protocols.rules.spec import Protocol
from protocols.scoring.plan_file import PlanFile, rebuild_plans
from protocols.training.method import MethodConfig
from protocols.training.models import Model
from results.metrics.counts import count
from results.records.files import cell_file, save_record

AUDIT = "scored from files"
FileKey = tuple[int, str, str, str]  # fold, group, class, query scan


EXTERNAL = Model(  # the model behind the masks is unknown
    None,
    {
        "key": None,
        "encoder": None,
        "initial_weights": None,
        "steps": None,
        "seed": 0,
        "checkpoint": "external",
        "skipped_episodes": None,
        "trained_on": [],
    },
    None,
)


@dataclass(frozen=True)
class ExternalMethod(MethodConfig):
    """A method known by name alone; `files_hash` (hex) stands in for its unknown source."""

    files_hash: str = ""
    labels_used: str = ""

    @property
    def description(self) -> dict[str, Any]:
        """Return the `method` part of a record."""
        return {
            "name": self.name,
            "version": None,
            "source": self.files_hash,
            "options": {},
            "files": {},
            "regime": "external",
            "labels_used": self.labels_used,
        }


def score_files(
    file: PlanFile,
    store: Store,
    protocol: Protocol,
    pattern: str,
    name: str,
    work: Path,
    *,
    labels_used: str,
    overwrite: bool = False,
) -> list[Path]:
    """Score every cell of a plan file and return the records' paths.

    Records are written after all cells are scored.

    Args:
        file: the plan file.
        store: the prepared dataset.
        protocol: the rules of the plan.
        pattern: folder of the masks, as in `prediction_files`.
        name: of the method in tables.
        work: holds the folder `records`.
        labels_used: the labels that the method's training saw, a key of `results.summary.notes.LABELS`.
        overwrite: whether existing records are replaced.

    Raises:
        UserError: plan, store, protocol and files do not belong together.
    """
    started = time.perf_counter()
    plans = rebuild_plans(file, store, protocol)
    files = prediction_files(pattern, [plan.evaluation for plan in plans])
    method = ExternalMethod(
        checked_name("method", name), object, None, None, 0,
        files_hash=hash_of_files(list(files.values())), labels_used=labels_used,
    )  # fmt: skip
    folds, groups = (tuple(dict.fromkeys(names)) for names in zip(*file.cells, strict=True))
    request = Request(store, protocol, file.setting, folds, groups, work, torch.device("cpu"), 1)
    made = []
    for plan in plans:
        checks = audit_evaluation(plan.evaluation, store, protocol)
        scores = score_plan(plan.evaluation, store, files)
        record = cell_record(request, method, EXTERNAL, plan, scores, (AUDIT,), checks)
        made.append((key_of_cell(request, method, EXTERNAL, plan.evaluation), record))
    seconds = time.perf_counter() - started
    paths: list[Path] = []
    for key, record in made:
        path = None if overwrite else cell_file(work / "records", key)
        if path is None:
            with cells_locked(work, [key]):
                path = None if overwrite else cell_file(work / "records", key)
                if path is None:
                    path = save_record(work / "records", record)
                    log_cell(request, key, EXTERNAL, record, seconds, 0, path)
        paths.append(path)
    return paths


def prediction_files(pattern: str, plans: Sequence[EvaluationPlan]) -> dict[FileKey, Path]:
    """Return (fold, group, class, scan) -> `scan_ID_label_K.nii.gz` for every mask that the plans need.

    `pattern` is a folder; `{fold}` and `{group}` in it are replaced. Raises `UserError` for missing files
    (with the first file and their number), and for one file that would serve two folds.
    """
    files: dict[FileKey, Path] = {}
    for plan in plans:
        folder = fill_fold_and_group(pattern, plan.fold, plan.group, "predictions")
        for task in plan.tasks:
            if task.queries:
                scan = task.queries[0].scan
                path = folder / f"scan_{scan}_label_{task.class_value}.nii.gz"
                files[plan.fold, plan.group, task.class_name, scan] = path
    missing = [path for path in dict.fromkeys(files.values()) if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 1} more are missing" if len(missing) > 1 else " is missing"
        raise UserError(
            f"predictions: {missing[0]}{more} of {len(set(files.values()))} files that the plan needs; "
            "write one for every query scan and class, also if its mask is empty"
        )
    fold_of: dict[Path, int] = {}
    for (fold, _group, _class, _scan), path in files.items():
        if fold_of.setdefault(path, fold) != fold:
            raise UserError(
                f"predictions: {path} would serve folds {fold_of[path]} and {fold}, which differ in their "
                "support; give a folder per fold, with {fold} in its name"
            )
    return files


def hash_of_files(paths: Sequence[Path]) -> str:
    """Return 16 hex digits of a hash over the names and bytes of prediction files."""
    return hash_of(sorted([path.name, sha256_of(path)] for path in paths))[:16]


def score_plan(plan: EvaluationPlan, store: Store, files: Mapping[FileKey, Path]) -> Evaluation:
    """Return the scores of a plan's files, with the order and the counts of a run.

    Only scored slices count, cropped to volume[:, :size, :size], the input of a model.
    """
    undefined = {(class_name, scan): reason for class_name, scan, reason in plan.undefined}
    scores = []
    for class_name in plan.classes:
        for scan in plan.query_scans:
            if (class_name, scan) in undefined:
                reason = undefined[class_name, scan]
                scores.append(ScanScore(class_name, scan, plan.support_scans, 0, 0, 0, 0, reason))
                continue
            tasks = [
                task
                for task in plan.tasks
                if task.class_name == class_name and task.queries and task.queries[0].scan == scan
            ]
            mask = read_mask(files[plan.fold, plan.group, class_name, scan], store, scan)
            scores.append(_score(tasks, mask, store))
    return Evaluation(tuple(scores), 0)


def read_mask(path: Path, store: Store, scan: str) -> NDArray[np.bool_]:
    """Return a predicted mask (Z,Y,X) bool of `scan` in the axes of the store.

    A mask whose file orders or turns the same axes otherwise is turned. Raises `UserError` for another shape,
    another grid than that of the scan, and a value other than 0 and 1.
    """
    mask = read_label(path)
    stored = store.scan(scan)
    array, grid = onto_axes(mask.array, mask, stored)
    wanted = stored.image.shape
    if array.shape != wanted:
        raise UserError(
            f"{path} has shape {array.shape} (z,y,x), expected {wanted}, that of scan {scan} in "
            f"{store.path}; predict on the prepared volumes, uncut"
        )
    difference = grid_difference(grid, stored)
    if difference is not None:
        raise UserError(
            f"{path} has {difference} as scan {scan} in {store.path}; write the mask with the scan's "
            f"affine {_affine_text(stored)}"
        )
    strange = np.setdiff1d(np.unique(array), (0, 1))
    if strange.size:
        raise UserError(
            f"{path} holds the value {float(strange[0]):.17g}, expected only 0 and 1; write one mask per "
            "class and cut probabilities at 0.5"
        )
    inside: NDArray[np.bool_] = array == 1
    return inside


def _affine_text(stored: StoredScan) -> str:
    """Return the rows of a scan's NIfTI affine, from voxel (x,y,z) to mm, as a user's program needs them."""
    grid = Grid(stored.spacing_mm, stored.origin, stored.direction)
    rows = affine_of(grid)[:3].tolist()
    return str([[float(f"{value:.7g}") for value in row] for row in rows])


def _score(tasks: Sequence[Task], mask: NDArray[np.bool_], store: Store) -> ScanScore:
    """Count one class in one scan over the scored slices of its parts."""
    first = tasks[0]
    scan, size = first.queries[0].scan, store.spec.image_size
    slices = sorted(
        ref.z
        for task in tasks
        for ref, scored in zip(task.queries, task.scored, strict=True)
        if scored
    )  # fmt: skip
    truth = np.asarray(store.scan(scan).labels[slices, :size, :size] == first.class_value)
    tp, fp, fn = (int(number) for number in count(mask[slices, :size, :size], truth))
    reason = None if 2 * tp + fp + fn else "no scored slice shows the class and none was predicted"
    supports = tuple(dict.fromkeys(ref.scan for ref in first.support))
    return ScanScore(first.class_name, scan, supports, len(slices), tp, fp, fn, reason)
