"""Evaluation of one model on cells of one fold: each slice encoded once, one record per cell."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from episodes.plan.plan import Plan
from episodes.store.slices import Normalisation, SliceReader
from fewshot.base.names import path_in
from fewshot.base.progress import progress
from fewshot.learners.query_mode import query_mode
from protocols.cells.cell_record import cell_record, evaluation_precision, key_of_cell, log_cell
from protocols.cells.evaluate import evaluate
from protocols.cells.predictions import PredictionWriter
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
    slices) of the model's training, None if the plan names them; `excluded_seen`: number of excluded slices
    that the backbone's pre-training saw.
    """

    request: Request
    plan: Plan
    marks: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    trained: tuple[tuple[str, ...], int, int] | None = None
    excluded_seen: int = 0


def evaluate_cells(
    cells: Sequence[EvaluationCell], method: MethodConfig, model: Model, intensities: Normalisation
) -> list[Path]:
    """Evaluate one model on cells of one fold and store, each slice encoded once, and write their records.

    Returns the records' paths, in order. An existing record stays, unless the request has `overwrite`, or
    has `save_predictions` and the predictions are missing.
    """
    keys = [key_of_cell(cell.request, method, model, cell.plan) for cell in cells]
    first = cells[0].request
    records = first.work / "records"
    paths = [cell_file(records, key) for key in keys]
    folders = [path_in(first.work / "predictions", "cell", key) for key in keys]
    missing = [
        n
        for n, path in enumerate(paths)
        if first.overwrite or path is None or (first.save_predictions and not folders[n].exists())
    ]
    if not missing:
        return [path for path in paths if path is not None]
    todo = [cells[n].plan for n in missing]
    writer = PredictionWriter(first.store) if first.save_predictions else None
    started = time.perf_counter()
    scans = {scan for plan in todo for scan in plan.query_scans}
    reader = SliceReader(first.store, intensities)
    compared = spot_check(
        model.learner, todo[0], reader, device=first.device, batch=first.batch,
        precision=first.eval_precision,
    )  # fmt: skip
    with progress(len(scans), f"fold {todo[0].fold} evaluation", unit="scan") as bar:
        evaluations = evaluate(
            model.learner, todo, reader, device=first.device, batch=first.batch,
            precision=first.eval_precision,
            on_masks=writer.add if writer is not None else None, on_progress=bar.update,
        )  # fmt: skip
    seconds = time.perf_counter() - started
    for n, evaluation in zip(missing, evaluations, strict=True):
        cell = cells[n]
        checks = (*cell.checks, *([] if compared is None else [CHECK]))
        if writer is not None:
            writer.write(cell.plan, folders[n])
        record = cell_record(
            cell.request, method, model, cell.plan, evaluation, cell_marks(cell, method, model), checks,
            cell.trained, cell.excluded_seen,
        )  # fmt: skip
        paths[n] = path = save_record(records, record)
        log_cell(cell.request, keys[n], model, record, seconds, path)
    return [path for path in paths if path is not None]


def cell_marks(cell: EvaluationCell, method: MethodConfig, model: Model) -> tuple[str, ...]:
    """Return all marks of a cell: its own, the query mode's, the constants' and the recipe's."""
    request = cell.request
    constants = with_dataset_constants(method, request.store.spec.region, request.setting).marks
    part, options = model.description | evaluation_precision(request), method.description["options"]
    together = (TOGETHER,) if query_mode(method.learner) == "together" else ()
    return (*cell.marks, *together, *constants, *recipe_mark(method.learner, part, options))
