"""Saved masks of a cell, counted again and compared with its record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from episodes.io.nifti import NiftiImage, read_nifti
from episodes.plan.plan import EvaluationPlan
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.types import Task
from protocols.cells.predictions import FACTS, REMEDY, counted_file, label_map_of, saved_grid, support_suffix
from protocols.cells.recorded_plan import recorded_plan
from results.metrics.counts import count
from results.records.record import Record
from results.records.record_parts import Score

Masks = dict[tuple[str, str], dict[int, NDArray[np.bool_]]]  # (scan, suffix) -> class value -> mask


def check_predictions(record: Record, store: Store, folder: Path) -> None:
    """Raise `UserError` if the masks in `folder` are not those that a record counts.

    Args:
        record: the record of the cell.
        store: its prepared dataset.
        folder: the predictions of the cell: a mask for every class and scan with a Dice, and label maps that
            follow from them. A folder of an older version has no label maps.
    """
    plan = recorded_plan(record, store)
    masks: Masks = {}
    for score in record.scores:
        if score.undefined is None or score.slices:
            tasks = [task for task in plan.tasks if _is_of(task, score)]
            suffix, value = support_suffix(plan, tasks[0]), tasks[0].class_value
            mask = _check_mask(counted_file(folder, score.scan, value, suffix), tasks, score, store)
            masks.setdefault((score.scan, suffix), {})[value] = mask
    if (folder / FACTS).is_file():
        _check_label_maps(plan, masks, store, folder)


def _check_mask(path: Path, tasks: list[Task], score: Score, store: Store) -> NDArray[np.bool_]:
    mask = _read(path).array
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
    inside: NDArray[np.bool_] = mask == 1
    return inside


def _check_label_maps(plan: EvaluationPlan, masks: Masks, store: Store, folder: Path) -> None:
    """Check that every label map is that of the counted masks."""
    grid = saved_grid(folder)
    for (scan, suffix), classes in masks.items():
        path = folder / f"scan_{scan}{suffix}.nii.gz"
        for task in plan.tasks:  # a class without scored slices has a mask too
            same = task.queries and task.queries[0].scan == scan and support_suffix(plan, task) == suffix
            if same and task.class_value not in classes:
                other = counted_file(folder, scan, task.class_value, suffix)
                classes[task.class_value] = _read(other).array > 0
        expected, _in_several = label_map_of(classes, store.scan(scan), str(grid))
        if not np.array_equal(_read(path).array, expected):
            raise UserError(f"{path} is not the label map of the masks in {folder}; {REMEDY}")


def _read(path: Path) -> NiftiImage:
    if not path.is_file():
        raise UserError(f"{path} is missing; {REMEDY}")
    return read_nifti(path)


def _is_of(task: Task, score: Score) -> bool:
    return (
        task.class_name == score.class_name
        and bool(task.queries)
        and task.queries[0].scan == score.scan
        and tuple(dict.fromkeys(ref.scan for ref in task.support)) == tuple(score.supports)
    )
