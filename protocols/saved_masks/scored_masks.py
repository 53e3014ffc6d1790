"""Saved predictions of a cell beside the truth, on the slices and pixels that its record counts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from episodes.store.store import Store
from protocols.cells.predictions import read_prediction, support_suffix
from protocols.cells.recorded_plan import recorded_plan
from protocols.saved_masks.masks import Cell, truth
from results.records.record_parts import Score

Bools = NDArray[np.bool_]
Key = tuple[str, str, tuple[str, ...]]  # class, scan, support scans


def scored_masks(cell: Cell, store: Store) -> Iterator[tuple[Score, Bools, Bools]]:
    """Yield each score of a cell with prediction and truth (Z,h,w), cropped to the model's square.

    Slices that are not scored are False in both. A class that a scan does not show has no query, so its
    undefined score has no predicted voxel. Raises `UserError` if a file of the predictions is missing or
    misshapen.
    """
    plan = recorded_plan(cell.record, store)
    counted: dict[Key, set[int]] = {}
    suffixes: dict[Key, str] = {}
    for task in (one for one in plan.tasks if one.queries):  # a short class leaves a part without a slice
        supports = tuple(dict.fromkeys(ref.scan for ref in task.support))
        key = (task.class_name, task.queries[0].scan, supports)
        suffixes[key] = support_suffix(plan, task)
        slices = counted.setdefault(key, set())
        slices |= {ref.z for ref, counts in zip(task.queries, task.scored, strict=True) if counts}
    size = store.spec.image_size
    for score in cell.record.scores:
        key = (score.class_name, score.scan, tuple(score.supports))
        is_scored = np.zeros(len(store.scan(score.scan).labels), dtype=bool)
        is_scored[sorted(counted.get(key, ()))] = True
        true = truth(store, score.class_name, score.scan)
        mask = np.zeros_like(true)
        if score.undefined is None:
            mask = read_prediction(cell.folder, store, score.class_name, score.scan, suffixes[key])
        predicted, shown = ((each & is_scored[:, None, None])[:, :size, :size] for each in (mask, true))
        yield score, predicted, shown
