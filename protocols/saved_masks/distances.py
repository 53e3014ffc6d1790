"""Surface distances of recorded cells from their saved masks, one file of scores per cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.input_files import read_json
from fewshot.base.names import path_in
from fewshot.base.progress import Progress, progress
from fewshot.base.seals import SEAL, check_seal, write_sealed
from protocols.cells.recorded_plan import recorded_plan
from protocols.saved_masks.masks import Cell, prediction, truth
from results.metrics.distances import SCHEMA
from results.summary.distance_scores import distance_score


def measure_cells(
    cells: Sequence[Cell], store: Store, work: Path, tolerance_mm: float
) -> Mapping[tuple[int, str, str, int], Any]:
    """Return (fold, class, scan, seed) -> distance score of one row's cells.

    A finished cell is read from its file below `work`/distances; the others are measured and written.

    Args:
        cells: recorded cells with saved predictions.
        store: of the records.
        work: the work folder.
        tolerance_mm: tolerance of the surface Dice in mm.

    Raises:
        UserError: a mask is missing or misshapen, or a cell has several supports for one scan.
    """
    by_scan = {}
    total = sum(len(cell.record.scores) for cell in cells)
    with progress(total, f"{cells[0].record.method.name} distances", "mask") as bar:
        for cell in cells:
            dataset = cell.record.dataset
            about = {
                "schema": SCHEMA, "cell": cell.folder.name, "tolerance_mm": tolerance_mm,
                "dataset": {"name": dataset.name, "hash": dataset.hash}, "plan_hash": cell.record.plan_hash,
                "counts": [[score.tp, score.fp, score.fn] for score in cell.record.scores],
            }  # fmt: skip
            path = path_in(work / "distances", "cell", cell.folder.name, ".json")
            scores = _known(path, about)
            if scores is None:
                scores = _scores(cell, store, tolerance_mm, bar)
                write_sealed(path, {**about, "scores": scores})
            else:
                bar.update(len(scores))
            seed = cell.record.model.seed
            for score in scores:
                by_scan[cell.record.fold, score["class"], score["scan"], seed] = score
    return by_scan


def _known(path: Path, about: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the saved scores of the same masks and tolerance, or None; `UserError` for an edited file."""
    if not path.is_file():
        return None
    remedy = "delete it to measure again"
    content = read_json(path, remedy)
    if isinstance(content, dict) and SEAL not in content:  # of an earlier version
        return None
    value = check_seal(content, str(path), remedy)
    scores: list[dict[str, Any]] = value.pop("scores", None)
    return scores if value == about else None


def _scores(cell: Cell, store: Store, tolerance_mm: float, bar: Progress) -> list[dict[str, Any]]:
    """Return a cell's distance scores, from masks cropped to the model's square and the scored slices."""
    counted: dict[tuple[str, str], set[int]] = {}
    for task in recorded_plan(cell.record, store).tasks:
        slices = counted.setdefault((task.class_name, task.queries[0].scan), set())
        slices |= {ref.z for ref, counts in zip(task.queries, task.scored, strict=True) if counts}
    size = store.spec.image_size
    distances: list[dict[str, Any]] = []
    for score in cell.record.scores:
        name, scan = score.class_name, score.scan
        if (name, scan) in {(score["class"], score["scan"]) for score in distances}:
            raise UserError(
                f"cell {cell.folder.name} has several supports for {name} of scan {scan}; distances need "
                "exactly one mask a scan, so use a protocol with one support"
            )
        stored = store.scan(scan)
        is_scored = np.zeros(len(stored.labels), dtype=bool)
        is_scored[sorted(counted.get((name, scan), ()))] = True
        true = truth(store, name, scan)
        mask = prediction(cell, store, name, scan) if score.undefined is None else true
        cropped = [(each & is_scored[:, None, None])[:, :size, :size] for each in (mask, true)]
        spacing = stored.spacing_mm if store.spec.spacing_known else None
        distances.append(distance_score(score, cropped[0], cropped[1], spacing, tolerance_mm))
        bar.update(1)
    return distances
