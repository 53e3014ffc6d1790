"""Masks that another program wrote become scores under a plan: counted as our own answers are."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from episodes.io.nifti import read_nifti
from episodes.plan.plan import Plan
from episodes.store.store import Store
from fewshot.base.atomic_io import hash_of, sha256_of
from fewshot.base.errors import UserError
from fewshot.base.types import ScanScore, Task, checked_name
from protocols.cells.cell_record import cell_record, key_of_cell, log_cell
from protocols.cells.evaluate import Evaluation
from protocols.request import Request
from protocols.rules.audits import audit_question
from protocols.rules.spec import Protocol
from protocols.scoring.plan_file import PlanFile, plans_of
from protocols.training.method import MethodConfig
from protocols.training.models import Model
from results.metrics.counts import count
from results.records.files import write_record

AUDIT = "scored from files"
FileKey = tuple[int, str, str, str]  # fold, group, class, query scan


EXTERNAL = Model(  # nothing is known of what made the masks
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
    """A method known by name alone; `files_hash` (hex) stands for the source that is not here."""

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
    redo: bool = False,
) -> list[Path]:
    """Score every cell of a plan file and return the records' paths; a record that exists is left as it is.

    `pattern` as in `prediction_files`; `name`: what tables call the method; `labels_used`: the labels its
    training saw, a key of `results.notes.LABELS`. Raises `UserError` where plan, store, protocol and files do
    not belong together; no record is written before all are scored.
    """
    started = time.perf_counter()
    plans = plans_of(file, store, protocol)
    files = prediction_files(pattern, plans)
    method = ExternalMethod(
        checked_name("method", name), object, None, None, 0,
        files_hash=hash_of_files(list(files.values())), labels_used=labels_used,
    )  # fmt: skip
    folds, groups = (tuple(dict.fromkeys(some)) for some in zip(*file.cells, strict=True))
    request = Request(store, protocol, file.setting, folds, groups, work, torch.device("cpu"), 1)
    made = []
    for plan in plans:
        checks = audit_question(plan, store, protocol)
        scores = score_plan(plan, store, files)
        record = cell_record(request, method, EXTERNAL, plan, scores, (AUDIT,), checks)
        made.append((key_of_cell(request, method, EXTERNAL, plan), record))
    seconds = time.perf_counter() - started
    paths = []
    for key, record in made:
        paths.append(work / "records" / f"{key}.json")
        if redo or not paths[-1].exists():
            write_record(paths[-1], record)
            log_cell(request, key, EXTERNAL, record, seconds, paths[-1])
    return paths


def prediction_files(pattern: str, plans: Sequence[Plan]) -> dict[FileKey, Path]:
    """Return (fold, group, class, scan) -> `scan_ID_label_K.nii.gz` for every answer the plans ask for.

    `pattern` is a folder, in which `{fold}` and `{group}` are filled in. Raises `UserError` naming the
    first file that is missing and how many are, and for one file that would answer two folds.
    """
    files: dict[FileKey, Path] = {}
    for plan in plans:
        try:
            folder = Path(pattern.format(fold=plan.fold, group=plan.group))
        except (KeyError, IndexError, ValueError):
            raise UserError(
                f"predictions {pattern!r}: only {{fold}} and {{group}} may stand in braces"
            ) from None
        for task in plan.tasks:
            if task.queries:
                scan = task.queries[0].scan
                path = folder / f"scan_{scan}_label_{task.class_value}.nii.gz"
                files[plan.fold, plan.group, task.class_name, scan] = path
    missing = [path for path in dict.fromkeys(files.values()) if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 1} more are missing" if len(missing) > 1 else " is missing"
        raise UserError(
            f"predictions: {missing[0]}{more} of {len(set(files.values()))} files the plan asks for; "
            "write one for every query scan and class, empty where nothing was found"
        )
    fold_of: dict[Path, int] = {}
    for (fold, _group, _class, _scan), path in files.items():
        if fold_of.setdefault(path, fold) != fold:
            raise UserError(
                f"predictions: {path} would answer folds {fold_of[path]} and {fold}, which differ in their "
                "support; give a folder per fold, with {fold} in its name"
            )
    return files


def hash_of_files(paths: Sequence[Path]) -> str:
    """Return 16 hex digits that stand for the names and bytes of prediction files."""
    return hash_of(sorted([path.name, sha256_of(path)] for path in paths))[:16]


def score_plan(plan: Plan, store: Store, files: Mapping[FileKey, Path]) -> Evaluation:
    """Return the scores of a plan's files, in the order and with the counts that a run would give.

    Only scored slices count, cut to volume[:, :size, :size] as a model would see them.
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
    """Return a predicted mask (Z,Y,X) in the prepared geometry of `scan`; anything else is a `UserError`."""
    array = read_nifti(path).array
    wanted = store.scan(scan).image.shape
    if array.shape != wanted:
        raise UserError(
            f"{path} has shape {array.shape} (z,y,x), wanted {wanted}, that of scan {scan} in {store.path}; "
            "predict on the prepared volumes, uncut"
        )
    strange = np.setdiff1d(np.unique(array), (0, 1))
    if strange.size:
        raise UserError(
            f"{path} holds the value {float(strange[0]):g}, wanted only 0 and 1; write one mask per class "
            "and cut probabilities at 0.5"
        )
    mask: NDArray[np.bool_] = array == 1
    return mask


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
