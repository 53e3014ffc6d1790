"""Cells: plan everything, train what is missing, evaluate each model once, write one record per cell."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from episodes.plan import Plan, make_plan
from episodes.slices import SliceReader, normalisation
from fewshot.errors import UserError, unknown_name
from fewshot.progress import progress
from protocols.cells import Request as Request
from protocols.cells import cell_record, key_of, log_cell
from protocols.evaluate import evaluate
from protocols.external import LEAKAGE, checkpoint_files, external_model
from protocols.methods import settled_for
from protocols.models import Method, Model, ensure_model, training_differences, untrained_yardstick
from protocols.predictions import PredictionWriter
from results.records import write_record

LOG = logging.getLogger("fewshot")


class DoesNotFitError(UserError):
    """A trained model was asked a question that its training does not allow."""


def plan_cells(request: Request) -> dict[int, list[Plan]]:
    """Return the plans of every fold asked for; what is missing shows here, before any work."""
    groups = request.protocol.groups_for(request.store.spec)
    for group in request.groups:
        if group not in groups:
            raise unknown_name(f"group of {request.store.spec.name}", group, groups)
    return {
        fold: [
            make_plan(
                request.store.index, request.store.spec, request.store.hash, request.protocol.evaluation,
                request.setting, fold, group, groups[group],
            )
            for group in request.groups
        ]
        for fold in request.folds
    }  # fmt: skip


def run(request: Request, method: Method) -> list[Path]:
    """Train what is missing and evaluate every fold and group; return the records' paths, fold by fold.

    A cell whose record exists is left as it is unless `redo` (or predictions are wanted and missing).
    """
    method = _settled(request, method)
    paths = []
    for fold, plans in plan_cells(request).items():
        for shared in _by_training(plans) if method.recipe is not None else [plans]:
            model = _model(request, method, shared[0])
            paths += run_cells(request, method, model, shared)
        LOG.info("fold %d done: %s", fold, ", ".join(path.name for path in paths[-len(plans) :]))
    return paths


def run_external(request: Request, method: Method, pattern: str, same_for_all: bool) -> list[Path]:
    """Evaluate checkpoint files that were not trained here, one per fold and group as `pattern` says."""
    if method.recipe is None:
        raise UserError(f"{method.name} has nothing to load: leave out --checkpoint")
    method = _settled(request, method)
    cells = plan_cells(request)
    files = checkpoint_files(pattern, [plan for plans in cells.values() for plan in plans], same_for_all)
    folds_of: dict[Path, set[int]] = {}
    for (fold, _group), path in files.items():
        folds_of.setdefault(path.resolve(), set()).add(fold)
    paths = []
    for fold, plans in cells.items():
        by_file: dict[Path, list[Plan]] = {}
        for plan in plans:
            by_file.setdefault(files[fold, plan.group], []).append(plan)
        for path, some in by_file.items():
            audits = (LEAKAGE,) if len(folds_of[path.resolve()]) > 1 else ()
            paths += run_cells(request, method, external_model(method, path, request.device), some, audits)
    return paths


def run_trained(request: Request, method: Method, model: Model, spec: Mapping[str, Any]) -> list[Path]:
    """Evaluate a model trained here on the folds and groups that its training scans and slices fit.

    Raises `DoesNotFitError` naming the rules that differ where no plan asked for fits.
    """
    store, fitting, reasons = request.store, list[list[Plan]](), dict[str, None]()
    rule = request.protocol.training.normalisation[store.spec.modality]
    for plans in plan_cells(request).values():
        some = []
        for plan in plans:
            differing = training_differences(spec, plan, store, rule)
            reasons.update(dict.fromkeys(differing))
            if not differing:
                some.append(plan)
        if some:
            fitting.append(some)
    if not fitting:
        raise DoesNotFitError(
            f"model {model.description['key']} fits no fold and group of setting {request.setting} under "
            f"{request.protocol.name}: other {', '.join(reasons)}; name those it was made for"
        )
    method = _settled(request, method)
    return [path for plans in fitting for path in run_cells(request, method, model, plans)]


def run_cells(
    request: Request, method: Method, model: Model, plans: Sequence[Plan], audits: Sequence[str] = ()
) -> list[Path]:
    """Evaluate one model on plans of one fold, each slice encoded once, and write their records."""
    keys = [key_of(request, method, model, plan) for plan in plans]
    paths = [request.work / "records" / f"{key}.json" for key in keys]
    folders = [request.work / "predictions" / key for key in keys]
    missing = [
        n
        for n, path in enumerate(paths)
        if request.redo or not path.exists() or (request.save_predictions and not folders[n].exists())
    ]
    if not missing:
        return paths
    rule = request.protocol.training.normalisation[request.store.spec.modality]
    reader = SliceReader(request.store, normalisation(request.store, rule, plans[0].training_scans))
    todo = [plans[n] for n in missing]
    writer = PredictionWriter(request.store) if request.save_predictions else None
    started = time.perf_counter()
    scans = {scan for plan in todo for scan in plan.query_scans}
    with progress(len(scans), f"fold {todo[0].fold} evaluation", unit="scan") as bar:
        evaluations = evaluate(
            model.learner, todo, reader, device=request.device, batch=request.batch,
            keep=writer.keep if writer is not None else None, done=bar.update,
        )  # fmt: skip
    seconds = time.perf_counter() - started
    for n, plan, evaluation in zip(missing, todo, evaluations, strict=True):
        if writer is not None:
            writer.write(plan, folders[n])
        record = cell_record(request, method, model, plan, evaluation, (*audits, *method.marks))
        write_record(paths[n], record)
        log_cell(request, keys[n], model, record, seconds, paths[n])
    return paths


def _settled(request: Request, method: Method) -> Method:
    """Return the method with its constants for this dataset and setting; a doubtful choice is warned of."""
    settled = settled_for(method, request.store.spec.region, request.setting)
    for mark in settled.marks:
        LOG.warning("%s", mark)
    return settled


def _by_training(plans: Sequence[Plan]) -> list[list[Plan]]:
    """Return plans grouped by what they train on: in setting 1 all groups of a fold are together."""
    groups: dict[Any, list[Plan]] = {}
    for plan in plans:
        groups.setdefault((plan.training_scans, plan.training_slices), []).append(plan)
    return list(groups.values())


def _model(request: Request, method: Method, plan: Plan) -> Model:
    if method.recipe is None:
        return untrained_yardstick(method)
    rule = request.protocol.training.normalisation[request.store.spec.modality]
    intensities = normalisation(request.store, rule, plan.training_scans)
    return ensure_model(
        method, plan, request.store, intensities, request.work, request.device, request.checkpoint_every
    )
