"""Evaluation of one model on cells of one fold: each slice encoded once, one record per cell."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from episodes.plan.plan import CellPlan
from episodes.store.slices import Normalisation, SliceReader
from fewshot.base.progress import progress
from fewshot.files.locks import locked
from fewshot.files.names import path_in
from fewshot.learners.query_mode import query_mode
from fewshot.regimes.landmarks import COUNT_MARK, LandmarkLearner
from protocols.cells.cell_record import cell_record, evaluation_precision, key_of_cell, log_cell
from protocols.cells.evaluate import evaluate
from protocols.cells.landmarks import LandmarkCounter
from protocols.cells.predictions import PredictionWriter, saved_grid
from protocols.cells.recipe_marks import recipe_mark
from protocols.cells.spot_check import CHECK, spot_check
from protocols.request import Request
from protocols.training.method import MethodConfig
from protocols.training.method_config import with_dataset_constants
from protocols.training.models import Model
from results.records.files import cell_file, save_record

TOGETHER = "transductive: all query slices of a part are segmented together"


@dataclass(frozen=True)
class EvaluationCell:
    """One cell: its request, its plan, and the facts that its record holds beside the scores.

    `marks`: notes that tables print; `checks`: audits that passed; `trained`: (scans, slices, excluded
    slices) of the model's training, None if the plan has them; `excluded_seen`: number of excluded slices
    that the backbone's pre-training saw.
    """

    request: Request
    plan: CellPlan
    marks: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    trained: tuple[tuple[str, ...], int, int] | None = None
    excluded_seen: int = 0


def evaluate_cells(
    cells: Sequence[EvaluationCell], method: MethodConfig, model: Model, intensities: Normalisation
) -> list[Path]:
    """Evaluate one model on cells of one fold and store, each slice encoded once, and write their records.

    Returns the records' paths, in order. An existing record stays, unless the request has `overwrite`, or
    has `save_predictions` and the predictions are missing or on another grid. A lock on each missing cell
    lets only one process write it; the others wait and find it.
    """
    keys = [key_of_cell(cell.request, method, model, cell.plan.evaluation) for cell in cells]
    work = cells[0].request.work
    missing = _missing(cells[0].request, keys)
    if missing:
        with cells_locked(work, [keys[n] for n in missing]):
            missing = _missing(cells[0].request, keys)
            if missing:
                _evaluate_missing(cells, keys, missing, method, model, intensities)
    paths = [cell_file(work / "records", key) for key in keys]
    return [path for path in paths if path is not None]


@contextmanager
def cells_locked(work: Path, keys: Iterable[str]) -> Iterator[None]:
    """Hold the locks of cells; every process takes them in the same order, so none waits for another's."""
    with ExitStack() as stack:
        for key in sorted(set(keys)):
            stack.enter_context(locked(work / "locks" / f"cell-{key}.lock"))
        yield


def _missing(request: Request, keys: Sequence[str]) -> list[int]:
    """Return the positions of the cells to evaluate."""
    records, predictions = request.work / "records", request.work / "predictions"
    return [
        number
        for number, key in enumerate(keys)
        if request.overwrite
        or cell_file(records, key) is None
        or (request.save_predictions and saved_grid(path_in(predictions, "cell", key)) != request.grid)
    ]


def _evaluate_missing(
    cells: Sequence[EvaluationCell], keys: Sequence[str], missing: Sequence[int], method: MethodConfig,
    model: Model, intensities: Normalisation,
) -> None:  # fmt: skip
    """Evaluate the cells at the positions `missing`; write predictions, then the record, then the log."""
    first = cells[0].request
    todo = [cells[n].plan.evaluation for n in missing]
    writer = PredictionWriter(first.store, first.grid) if first.save_predictions else None
    started = time.perf_counter()
    scans = {scan for plan in todo for scan in plan.query_scans}
    reader = SliceReader(first.store, intensities)
    compared = spot_check(
        model.learner, todo[0], reader, device=first.device, batch=first.batch,
        precision=first.eval_precision,
    )  # fmt: skip
    landmarks = LandmarkCounter(reader) if first.store.has_points else None
    with progress(len(scans), f"fold {todo[0].fold} evaluation", unit="scan") as bar:
        evaluations = evaluate(
            model.learner, todo, reader, device=first.device, batch=first.batch,
            precision=first.eval_precision,
            on_masks=writer.add if writer is not None else None, landmarks=landmarks,
            on_progress=bar.update,
        )  # fmt: skip
    seconds = time.perf_counter() - started
    slices = sum(first.store.index.depths[scan] for scan in scans)
    for n, evaluation in zip(missing, evaluations, strict=True):
        cell = cells[n]
        checks = (*cell.checks, *([] if compared is None else [CHECK]))
        if writer is not None:
            writer.write(cell.plan.evaluation, first.work / "predictions" / keys[n])
        record = cell_record(
            cell.request, method, model, cell.plan, evaluation, cell_marks(cell, method, model), checks,
            cell.trained, cell.excluded_seen,
            () if landmarks is None else landmarks.scores(cell.plan.evaluation),
        )  # fmt: skip
        path = save_record(first.work / "records", record)
        log_cell(cell.request, keys[n], model, record, seconds, slices, path)


def cell_marks(cell: EvaluationCell, method: MethodConfig, model: Model) -> tuple[str, ...]:
    """Return all marks of a cell: its own, the query mode's, the constants' and the recipe's."""
    request = cell.request
    constants = with_dataset_constants(method, request.store.spec.region, request.setting).marks
    part, options = model.description | evaluation_precision(request), method.description["options"]
    learner = model.learner
    counted = (COUNT_MARK,) if isinstance(learner, LandmarkLearner) and learner.reads_count else ()
    together = (TOGETHER,) if query_mode(method.learner) == "together" else ()
    return (*cell.marks, *counted, *together, *constants, *recipe_mark(method.learner, part, options))
