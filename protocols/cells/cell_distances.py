"""Surface distances of a recorded cell, from its saved predictions and the store; a file keeps them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from episodes.store.store import Store
from fewshot.base.atomic_io import write_json
from protocols.cells.predictions import read_prediction, support_suffix
from protocols.cells.recorded_plan import recorded_plan
from results.metrics.distances import SCHEMA, library_version
from results.records.record import Record
from results.summary.distance_scores import distance_score

Key = tuple[str, str, tuple[str, ...]]  # class, scan, support scans


def cell_distances(
    record: Record,
    folder: Path,
    store: Store,
    work: Path,
    tolerance_mm: float,
    on_mask: Callable[[int], object] = lambda _count: None,
) -> list[dict[str, Any]]:
    """Return the distance scores of a cell in the order of its scores; measure them unless a file has them.

    The file WORK/distances/<cell>.json holds the scores of these counts, plan, dataset, tolerance and
    version of MONAI. Other scores are measured again.

    Args:
        record: the cell's record.
        folder: its saved predictions; the folder's name is the cell's key.
        store: the dataset that the record names.
        work: the work folder.
        tolerance_mm: tolerance of the surface Dice.
        on_mask: called with the number of masks that are done since the last call.

    Returns:
        `distance_score` of each score.

    Raises:
        UserError: a mask is missing, has another shape, or has other counts than the record.
    """
    about = {
        "schema": SCHEMA,
        "cell": folder.name,
        "tolerance_mm": tolerance_mm,
        "monai": library_version(),
        "dataset": {"name": record.dataset.name, "hash": record.dataset.hash},
        "plan_hash": record.plan_hash,
        "counts": [[score.tp, score.fp, score.fn] for score in record.scores],
    }
    path = work / "distances" / f"{folder.name}.json"
    scores = _known(path, about)
    if scores is None:
        scores = _measured(record, folder, store, tolerance_mm, on_mask)
        write_json(path, {**about, "scores": scores})
    else:
        on_mask(len(scores))
    return scores


def _known(path: Path, about: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the saved scores of the same masks and tolerance, or None."""
    if not path.is_file():
        return None
    value = json.loads(path.read_text())
    scores: list[dict[str, Any]] = value.pop("scores", None)
    return scores if value == about else None


def _measured(
    record: Record, folder: Path, store: Store, tolerance_mm: float, on_mask: Callable[[int], object]
) -> list[dict[str, Any]]:
    """Return a cell's distance scores, from masks cropped to the model's square and the scored slices."""
    plan = recorded_plan(record, store)
    counted: dict[Key, set[int]] = {}
    suffixes: dict[Key, str] = {}
    for task in plan.tasks:
        supports = tuple(dict.fromkeys(ref.scan for ref in task.support))
        key = (task.class_name, task.queries[0].scan, supports)
        suffixes[key] = support_suffix(plan, task)
        slices = counted.setdefault(key, set())
        slices |= {ref.z for ref, counts in zip(task.queries, task.scored, strict=True) if counts}
    size = store.spec.image_size
    distances: list[dict[str, Any]] = []
    for score in record.scores:
        key = (score.class_name, score.scan, tuple(score.supports))
        stored = store.scan(score.scan)
        is_scored = np.zeros(len(stored.labels), dtype=bool)
        is_scored[sorted(counted.get(key, ()))] = True
        true = stored.labels == store.spec.classes[score.class_name]
        mask = true
        if score.undefined is None:
            mask = read_prediction(folder, store, score.class_name, score.scan, suffixes[key])
        cropped = [(each & is_scored[:, None, None])[:, :size, :size] for each in (mask, true)]
        spacing = stored.spacing_mm if store.spec.spacing_known else None
        distances.append(distance_score(score, cropped[0], cropped[1], spacing, tolerance_mm))
        on_mask(1)
    return distances
