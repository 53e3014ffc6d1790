"""Cells: plan everything, train what is missing, evaluate each model once, write one record per cell."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from episodes.plan.plan import Plan, make_plan
from episodes.store.slices import Normalisation, normalisation
from fewshot.base.atomic_io import hash_of
from fewshot.base.errors import UserError, unknown_name
from fewshot.base.locks import if_free, locked
from fewshot.base.types import checked_name
from fewshot.encoders.backbone_file import Pretraining
from fewshot.encoders.checkpoints import weights_file
from protocols.cells.evaluate_cells import EvaluationCell, evaluate_cells
from protocols.request import Request as Request
from protocols.rules.audits import audit_question, audit_training
from protocols.runs.backbone_audit import with_backbone_audit
from protocols.runs.cross_dataset import (
    audit_cross_dataset,
    check_pair,
    cross_dataset_intensities,
    cross_dataset_plan,
)
from protocols.runs.external_checkpoint import (
    LEAKAGE,
    ExternalCells,
    check_other_files,
    checkpoint_files,
    external_description,
    external_model,
    with_external_labels,
    with_labels_of_start,
)
from protocols.runs.selection import (
    HELD_OUT,
    MARKS,
    POLICIES,
    audit_unseen,
    candidates,
    evaluate_selected,
    without_validation,
)
from protocols.training.fold_weights import for_fold, per_fold_variants
from protocols.training.method import MethodConfig
from protocols.training.method_config import with_dataset_constants, with_logged_constants
from protocols.training.models import Model, build_yardstick, find_pretraining
from protocols.training.stages import (
    check_labels,
    check_stages,
    ensure_trained,
    has_stages,
    makes_backbone,
    reads_labels,
    with_last_recipe,
)

LOG = logging.getLogger("fewshot")


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


def run(request: Request, method: MethodConfig) -> list[Path]:
    """Train what is missing and evaluate every fold and group; return the records' paths, fold by fold.

    A cell whose record exists is left as it is unless `redo` (or predictions are wanted and missing).
    Cells that another process is at are left to it and looked at again at the end, so that the same run
    started several times, on other devices or machines that share the work folder, is done together.
    """
    cells = validate_and_plan(request, method)
    method = with_logged_constants(method, request.store.spec.region, request.setting)
    parcels = [shared for plans in cells.values() for shared in _group_by_training(plans, method)]
    found: dict[int, list[Path]] = {}
    for lock in (if_free, locked):
        for number in _schedule(parcels, method):
            if number not in found:
                shared = parcels[number]
                with lock(request.work / "locks" / f"{_work_unit_id(method, shared)}.lock") as ours:
                    if ours:
                        found[number] = _run_work_unit(request, method, shared)
    return [path for number in range(len(parcels)) for path in found[number]]


def validate_and_plan(request: Request, method: MethodConfig) -> dict[int, list[EvaluationCell]]:
    """Return the cells of a run, fold by fold, after every check that needs no training.

    Raises `UserError` for what can't be: a file that is missing, labels that are not there, a failed audit.
    """
    _check_request(request, method)
    method = with_dataset_constants(method, request.store.spec.region, request.setting)
    cells = {}
    for fold, plans in plan_cells(request).items():
        recipe = for_fold(method, fold).recipe
        about = None if recipe is None else find_pretraining(recipe.weights)
        cells[fold] = [_audit_cell(request, method, about, plan) for plan in plans]
    return cells


def _run_work_unit(request: Request, method: MethodConfig, shared: Sequence[EvaluationCell]) -> list[Path]:
    """Return the records of cells of one fold that share a training, after whatever of it was missing."""
    model = _model(request, method, shared[0].plan)
    method = with_labels_of_start(method, model)
    asked = [with_backbone_audit(cell, model.folder) for cell in shared]
    answer = evaluate_cells if request.checkpoint_policy == "last" else evaluate_selected
    paths = answer(
        asked,
        with_last_recipe(method, request.checkpoint_policy),
        model,
        _intensities(request, shared[0].plan),
    )
    fold = shared[0].plan.fold
    LOG.info(
        "fold %d %s done",
        fold,
        ", ".join(f"{c.plan.group} {p.name}" for c, p in zip(shared, paths, strict=True)),
    )
    return paths


def _work_unit_id(method: MethodConfig, shared: Sequence[EvaluationCell]) -> str:
    """Return a name for cells that one process works at: equal in every process that is asked the same."""
    request = shared[0].request
    recipe = None if method.recipe is None else dataclasses.asdict(method.recipe)
    other = None if request.train_store is None else request.train_store.hash
    plans = [cell.plan.hash for cell in shared]
    asked = [request.protocol.hash, request.setting, request.checkpoint_policy, other, plans]
    return "cells-" + hash_of([method.description, recipe, method.seed, method.precision, *asked])[:16]


def run_external(
    requests: Sequence[Request],
    method: MethodConfig,
    pattern: str,
    same_for_all: bool,
    name: str | None = None,
) -> list[Path]:
    """Evaluate checkpoint files that were not trained here, one per fold and group as `pattern` says.

    `name` tells several checkpoints of one method apart: it stands in records, keys and labels. Raises
    `UserError` where a record of another file has the same name, before anything is evaluated.

    `requests` may ask several protocols of one dataset and setting: those whose intensities agree share what
    is encoded. Nothing is known of the training, so no protocol is refused and no training audited.
    """
    if method.recipe is None:
        raise UserError(f"{method.name} has nothing to load: leave out --checkpoint")
    method = with_external_labels(method)
    folds_of: dict[Path, set[int]] = {}
    asked: dict[tuple[Any, ...], list[tuple[Request, Plan]]] = {}
    for request in requests:
        plans = [plan for plans in plan_cells(request).values() for plan in plans]
        rule = request.protocol.training.normalisation[request.store.spec.modality]
        for (fold, group), path in checkpoint_files(pattern, plans, same_for_all).items():
            folds_of.setdefault(path.resolve(), set()).add(fold)
            plan = next(plan for plan in plans if (plan.fold, plan.group) == (fold, group))
            scans = plan.training_scans if rule == "training-scans" else ()
            asked.setdefault((fold, path, rule, scans), []).append((request, plan))
    if name is not None:
        checked_name("--name", name)
    work = []
    for (_fold, path, _rule, _scans), pairs in sorted(asked.items(), key=lambda item: item[0][0]):
        marks = (LEAKAGE,) if len(folds_of[path.resolve()]) > 1 else ()
        cells = tuple(
            EvaluationCell(request, plan, marks, audit_question(plan, request.store, request.protocol))
            for request, plan in pairs
        )
        description = external_description(method, path, name)
        work.append(ExternalCells(path, description, cells, _intensities(*pairs[0])))
    check_other_files(work, method)
    paths = []
    for some in work:
        model = external_model(method, some.path, some.cells[0].request.device, some.description)
        paths += evaluate_cells(some.cells, method, model, some.intensities)
    return paths


def _audit_cell(
    request: Request, method: MethodConfig, about: Pretraining | None, plan: Plan
) -> EvaluationCell:
    """Return a cell whose audits passed; those of the training where there is one.

    `about`: how the backbone of `--weights` was made, where that is known.
    """
    held_out: tuple[str, ...] = ()
    if request.checkpoint_policy == "validation":
        plan, held_out = without_validation(request, plan), (HELD_OUT,)
    check_labels(method, plan, request.store)
    if about is not None:
        audit_unseen(request, plan, about)
    checks = (*audit_question(plan, request.store, request.protocol), *held_out)
    marks = MARKS[request.checkpoint_policy]
    if request.train_store is not None:
        ours, _theirs, told = cross_dataset_intensities(request.protocol, request.train_store, request.store)
        plan = cross_dataset_plan(plan, request.train_store)
        checks += audit_cross_dataset(plan, request.train_store, request.store, ours)
        return EvaluationCell(request, plan, (*marks, *told), checks)
    if method.recipe is not None:
        checks += audit_training(plan, request.store, plan.training_scans, _intensities(request, plan))
    return EvaluationCell(request, plan, marks, checks)


def _check_request(request: Request, method: MethodConfig) -> None:
    """Refuse what can't be, before anything is planned."""
    if request.checkpoint_policy not in POLICIES:
        raise unknown_name("checkpoint policy", request.checkpoint_policy, POLICIES)
    if method.recipe is None:
        for flag, given in (
            ("--checkpoint-policy", request.checkpoint_policy != "last"),
            ("--train-dataset", request.train_store),
        ):
            if given:
                raise UserError(f"{method.name} has nothing to train: leave out {flag}")
    elif request.checkpoint_policy != "last":
        recipe = with_last_recipe(method, request.checkpoint_policy).recipe
        assert recipe is not None
        candidates(recipe, " (which trains the earlier stages anew too)" if reads_labels(method) else "")
    for one in per_fold_variants(method, request.folds):
        if one.recipe is None:
            continue
        check_stages(request, one)
        if not makes_backbone(one):
            weights_file(one.recipe.weights, one.recipe.encoder, request.work / "weights")
    if request.train_store is not None:
        check_pair(request.train_store, request.store)
        if request.checkpoint_policy == "validation":
            raise UserError(
                "--checkpoint-policy validation holds a scan of the tested dataset out of training, and "
                "--train-dataset trains on none of them; use --checkpoint-policy last"
            )


def _group_by_training(cells: Sequence[EvaluationCell], method: MethodConfig) -> list[list[EvaluationCell]]:
    """Return cells grouped by what they train on: in setting 1 all groups of a fold are together.

    What learns from labels of the training group has a training for every group.
    """
    if method.recipe is None:
        return [list(cells)]
    if reads_labels(method):
        return [[cell] for cell in cells]
    groups: dict[Any, list[EvaluationCell]] = {}
    for cell in cells:
        groups.setdefault((cell.plan.training_scans, cell.plan.training_slices), []).append(cell)
    return list(groups.values())


def _schedule(parcels: Sequence[Sequence[EvaluationCell]], method: MethodConfig) -> list[int]:
    """Return the numbers of the parcels in the order in which they are taken.

    Parcels of a fold share stages of a training, for which a second process would only wait: of a method in
    stages every fold's first comes first, then every fold's second.
    """
    if not has_stages(method):
        return list(range(len(parcels)))
    folds = [shared[0].plan.fold for shared in parcels]
    turns = [folds[:number].count(fold) for number, fold in enumerate(folds)]
    return sorted(range(len(parcels)), key=lambda number: turns[number])


def _intensities(request: Request, plan: Plan) -> Normalisation:
    """Return what the asked scans are normalised by."""
    if request.train_store is not None:
        return cross_dataset_intensities(request.protocol, request.train_store, request.store)[1]
    rule = request.protocol.training.normalisation[request.store.spec.modality]
    return normalisation(request.store, rule, plan.training_scans)


def _model(request: Request, method: MethodConfig, plan: Plan) -> Model:
    if method.recipe is None:
        return build_yardstick(method)
    store, intensities = request.store, _intensities(request, plan)
    if request.train_store is not None:
        store, intensities = (
            request.train_store,
            cross_dataset_intensities(request.protocol, request.train_store, request.store)[0],
        )
    return ensure_trained(request, method, plan, store, intensities)
