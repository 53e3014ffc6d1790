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

from episodes.plan.plan import EvaluationPlan
from episodes.store.store import Store
from fewshot.base.types import ScanScore, Task
from fewshot.files.names import checked_name, path_in
from protocols.cells.cell_record import cell_record, key_of_cell, log_cell
from protocols.cells.evaluate import Evaluation
from protocols.cells.evaluate_cells import cells_locked
from protocols.cells.predictions import PredictionWriter, saved_grid
from protocols.request import Request
from protocols.rules.audits import audit_evaluation
from protocols.rules.spec import Protocol
from protocols.scoring.mask_files import (
    FileKey,
    ScanMasks,
    grid_note,
    hash_of_files,
    overlap_note,
    prediction_files,
    read_masks,
)
from protocols.scoring.plan_file import PlanFile, rebuild_plans
from protocols.training.method import MethodConfig
from protocols.training.models import Model
from results.metrics.counts import count
from results.records.files import cell_file, save_record
from results.records.record import Record

AUDIT = "scored from files"

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


@dataclass(frozen=True)
class ScoredFiles:
    """Paths of the records of scored masks, one per cell, and `notes` for the user, one line each."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ScoredPlan:
    """Scores of a plan's files; `from_original`: scans whose masks were on the original voxels."""

    evaluation: Evaluation
    from_original: tuple[str, ...]


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
    grid: str = "original",
) -> ScoredFiles:
    """Score every cell of a plan file.

    Records and masks are written after all cells are scored. WORK/predictions keeps the masks as those of a
    run, for distances and pictures.

    Args:
        file: the plan file.
        store: the prepared dataset.
        protocol: the rules of the plan.
        pattern: folder of the masks, as in `prediction_files`.
        name: of the method in tables.
        work: holds the folders `records` and `predictions`.
        labels_used: the labels that the method's training saw, a key of `results.summary.notes.LABELS`.
        overwrite: whether existing records are replaced.
        grid: "original" or "store", as in `read_masks`.

    Raises:
        UserError: plan, store, protocol and files do not belong together.
    """
    started = time.perf_counter()
    plans = rebuild_plans(file, store, protocol)
    files = prediction_files(pattern, [plan.evaluation for plan in plans], grid)
    method = ExternalMethod(
        checked_name("method", name), object, None, None, 0,
        files_hash=hash_of_files(list(files.values())), labels_used=labels_used,
    )  # fmt: skip
    folds, groups = (tuple(dict.fromkeys(names)) for names in zip(*file.cells, strict=True))
    request = Request(
        store, protocol, file.setting, folds, groups, work, torch.device("cpu"), 1, grid=grid,
        overwrite=overwrite,
    )  # fmt: skip
    made: list[_ScoredCell] = []
    brought: dict[str, None] = {}
    for plan in plans:
        checks = audit_evaluation(plan.evaluation, store, protocol)
        writer = PredictionWriter(store, grid)
        scored = score_plan(plan.evaluation, store, files, writer, grid)
        brought |= dict.fromkeys(scored.from_original)
        record = cell_record(request, method, EXTERNAL, plan, scored.evaluation, (AUDIT,), checks)
        key = key_of_cell(request, method, EXTERNAL, plan.evaluation)
        made.append(_ScoredCell(key, plan.evaluation, record, writer))
    seconds = time.perf_counter() - started
    paths = tuple(_save(request, cell, seconds) for cell in made)
    classes = {task.class_value for plan in plans for task in plan.evaluation.tasks}
    notes = (grid_note(store, brought, sorted(classes)), overlap_note(files.values()))
    return ScoredFiles(paths, tuple(note for note in notes if note is not None))


@dataclass(frozen=True)
class _ScoredCell:
    key: str
    plan: EvaluationPlan
    record: Record
    writer: PredictionWriter


def _save(request: Request, cell: _ScoredCell, seconds: float) -> Path:
    """Write the masks and the record of a cell if one of them is missing; return the record's path."""
    records = request.work / "records"
    folder = path_in(request.work / "predictions", "cell", cell.key)
    path = None if request.overwrite else cell_file(records, cell.key)
    if path is not None and saved_grid(folder) is not None:
        return path
    with cells_locked(request.work, [cell.key]):
        path = None if request.overwrite else cell_file(records, cell.key)
        if path is None or saved_grid(folder) is None:
            cell.writer.write(cell.plan, folder)
        if path is None:
            path = save_record(records, cell.record)
            log_cell(request, cell.key, EXTERNAL, cell.record, seconds, 0, path)
    return path


def score_plan(
    plan: EvaluationPlan,
    store: Store,
    files: Mapping[FileKey, Path],
    writer: PredictionWriter,
    grid: str = "original",
) -> ScoredPlan:
    """Return the scores of a plan's files, with the order and the counts of a run.

    Only scored slices count, cropped to volume[:, :size, :size], the input of a model.

    Args:
        plan: the plan.
        store: the dataset.
        files: as `prediction_files` returns them.
        writer: gets the masks on the prepared slices.
        grid: as in `read_masks`.
    """
    undefined = {(class_name, scan): reason for class_name, scan, reason in plan.undefined}
    scores: dict[tuple[str, str], ScanScore] = {}
    brought = []
    for scan in plan.query_scans:  # the files of a scan are read once
        masks: dict[Path, ScanMasks] = {}
        for class_name in plan.classes:
            if (class_name, scan) in undefined:
                reason = undefined[class_name, scan]
                scores[class_name, scan] = ScanScore(class_name, scan, plan.support_scans, 0, 0, 0, 0, reason)
                continue
            tasks = [
                task
                for task in plan.tasks
                if task.class_name == class_name and task.queries and task.queries[0].scan == scan
            ]
            path, value = files[plan.fold, plan.group, class_name, scan], tasks[0].class_value
            if path not in masks:
                masks[path] = read_masks(path, store, scan, value, grid)
            mask = masks[path].classes[value]
            writer.add_volume(plan, tasks[0], mask)
            scores[class_name, scan] = _score(tasks, mask, store)
        if any(each.from_original for each in masks.values()):
            brought.append(scan)
    ordered = tuple(scores[class_name, scan] for class_name in plan.classes for scan in plan.query_scans)
    return ScoredPlan(Evaluation(ordered, 0), tuple(brought))


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
