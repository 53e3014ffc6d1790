"""Saved masks of a cell, counted again and compared with its record."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from episodes.io.nifti import read_nifti
from episodes.plan.plan import EvaluationPlan
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.types import Task
from protocols.cells.predictions import support_suffix
from protocols.cells.recorded_plan import recorded_plan
from results.metrics.counts import count
from results.records.record import Record
from results.records.record_parts import Score

REMEDY = "run the cell again with --overwrite --save-predictions"


def check_predictions(record: Record, store: Store, folder: Path) -> None:
    """Raise `UserError` if the masks in `folder` are not those that a record counts.

    Args:
        record: the record of the cell.
        store: its prepared dataset.
        folder: holds `scan_ID_label_K.nii.gz` for every class and scan with a Dice.
    """
    plan = recorded_plan(record, store)
    for score in record.scores:
        if score.undefined is None or score.slices:
            _check_mask(plan, score, store, folder)


def _check_mask(plan: EvaluationPlan, score: Score, store: Store, folder: Path) -> None:
    tasks = [task for task in plan.tasks if _is_of(task, score)]
    suffix = support_suffix(plan, tasks[0])
    path = folder / f"scan_{score.scan}_label_{tasks[0].class_value}{suffix}.nii.gz"
    if not path.is_file():
        raise UserError(f"{path} is missing; {REMEDY}")
    mask = read_nifti(path).array
    stored = store.scan(score.scan)
    if mask.shape != stored.labels.shape:
        raise UserError(f"{path} has shape {mask.shape}, expected {stored.labels.shape}; {REMEDY}")
    if np.setdiff1d(np.unique(mask), (0, 1)).size:
        raise UserError(f"{path} holds values besides 0 and 1; {REMEDY}")
    size = store.spec.image_size
    slices = sorted(
        ref.z
        for task in tasks
        for ref, scored in zip(task.queries, task.scored, strict=True)
        if scored
    )  # fmt: skip
    truth = np.asarray(stored.labels[slices, :size, :size] == tasks[0].class_value)
    found = tuple(int(number) for number in count(mask[slices, :size, :size] == 1, truth))
    recorded = (score.tp, score.fp, score.fn)
    if found != recorded:
        raise UserError(
            f"{path} counts {found} true positives, false positives and false negatives, its record "
            f"{recorded}; {REMEDY}"
        )


def _is_of(task: Task, score: Score) -> bool:
    return (
        task.class_name == score.class_name
        and bool(task.queries)
        and task.queries[0].scan == score.scan
        and tuple(dict.fromkeys(ref.scan for ref in task.support)) == tuple(score.supports)
    )
