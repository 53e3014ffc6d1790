"""Surface distances of recorded cells from their saved masks, one file of scores per cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.progress import Progress, progress
from fewshot.files.input_files import read_json
from fewshot.files.names import path_in
from fewshot.files.seals import SEAL, check_seal, write_sealed
from protocols.saved_masks.masks import Cell
from protocols.saved_masks.scored_masks import scored_masks
from results.metrics.distances import SCHEMA, library_version
from results.summary.distance_scores import distance_score
from results.tables.distance_tables import DistanceScores, score_key

REMEDY = "delete it to measure again"


def measure_cells(
    label: str, cells: Sequence[Cell], store: Store, work: Path, tolerance_mm: float
) -> tuple[DistanceScores, list[str]]:
    """Return the distance scores of one row's cells, and a line for each cell that cannot be measured.

    The file `work`/distances/<cell>.json holds the scores of these counts, plan, dataset, tolerance and
    version of MONAI. A cell without such a file is measured and its file written.

    Args:
        label: names the row in messages.
        cells: recorded cells with saved predictions.
        store: of the records.
        work: the work folder.
        tolerance_mm: tolerance of the surface Dice in mm.

    Raises:
        UserError: a file of distances was edited.
        CannotWriteError: a file of distances cannot be written.
    """
    scores: dict[tuple[int, str, str, tuple[str, ...], int], Mapping[str, Any]] = {}
    faults = []
    files = [
        (cell, _about(cell, tolerance_mm), path_in(work / "distances", "cell", cell.folder.name, ".json"))
        for cell in cells
    ]
    known = [_known(path, about) for _cell, about, path in files]
    total = sum(
        len(cell.record.scores) for cell, of_cell in zip(cells, known, strict=True) if of_cell is None
    )
    with progress(total, f"{label} distances", "mask", shown=total > 0) as bar:
        for (cell, about, path), kept in zip(files, known, strict=True):
            of_cell = kept
            if of_cell is None:
                try:
                    of_cell = _measured(cell, store, tolerance_mm, bar)
                except UserError as error:
                    faults.append(f"cell {cell.folder.name} of {label}: {error}")
                    continue
                write_sealed(path, {**about, "scores": of_cell})
            for score, distance in zip(cell.record.scores, of_cell, strict=True):
                scores[score_key(cell.record, score)] = distance
    return scores, faults


def _about(cell: Cell, tolerance_mm: float) -> dict[str, Any]:
    """Return what the distances of a cell depend on, as JSON."""
    record = cell.record
    return {
        "schema": SCHEMA,
        "cell": cell.folder.name,
        "tolerance_mm": tolerance_mm,
        "monai": library_version(),
        "dataset": {"name": record.dataset.name, "hash": record.dataset.hash},
        "plan_hash": record.plan_hash,
        "counts": [[score.tp, score.fp, score.fn] for score in record.scores],
    }


def _known(path: Path, about: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the saved scores of the same masks and tolerance, or None; `UserError` for an edited file."""
    if not path.is_file():
        return None
    content = read_json(path, REMEDY)
    if isinstance(content, dict) and SEAL not in content:  # of an earlier version
        return None
    value = check_seal(content, str(path), REMEDY)
    scores: list[dict[str, Any]] = value.pop("scores", None)
    return scores if value == about else None


def _measured(cell: Cell, store: Store, tolerance_mm: float, bar: Progress) -> list[dict[str, Any]]:
    """Return a cell's distance scores, from masks cropped to the model's square and the scored slices."""
    distances: list[dict[str, Any]] = []
    for score, predicted, true in scored_masks(cell, store):
        spacing = store.scan(score.scan).spacing_mm if store.spec.spacing_known else None
        distances.append(distance_score(score, predicted, true, spacing, tolerance_mm))
        bar.update(1)
    return distances
