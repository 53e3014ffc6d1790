"""Runs: plan all cells, train missing models, evaluate each model once, write one record per cell."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from episodes.plan.plan import CellPlan, make_plan
from episodes.store.slices import Normalisation, normalisation
from episodes.store.store import Store
from fewshot.base.errors import UserError, unknown_name
from fewshot.encoders.backbone_file import Pretraining
from fewshot.encoders.checkpoints import weights_file
from fewshot.files.atomic_io import hash_of
from fewshot.files.locks import if_free, locked
from fewshot.files.names import checked_name
from fewshot.identity.regimes import trains_on_labels
from protocols.cells.evaluate_cells import EvaluationCell, evaluate_cells
from protocols.regimes.labelled import check_needs
from protocols.request import Request
from protocols.rules.audits import audit_evaluation, audit_labels, audit_training
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
    plan_training,
    reads_labels,
    train_stages,
    with_last_recipe,
)

LOG = logging.getLogger("fewshot")


def plan_cells(request: Request) -> dict[int, list[CellPlan]]:
    """Return the plans of every requested fold, one per group; `UserError` for an unknown group."""
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
    """Train missing models, evaluate every fold and group, and return the records' paths, fold by fold.

    Existing records stay as in `evaluate_cells`. Processes that share a work folder share the work: cells
    that another process has locked are skipped first and waited for at the end.
    """
    cells = validate_and_plan(request, method)
    method = with_logged_constants(method, request.store.spec.region, request.setting)
    units = [shared for plans in cells.values() for shared in group_by_training(plans, method)]
    found: dict[int, list[Path]] = {}
    for lock in (if_free, locked):
        for number in _schedule(units, method):
            if number not in found:
                shared = units[number]
                with lock(request.work / "locks" / f"{_work_unit_id(method, shared)}.lock") as ours:
                    if ours:
                        found[number] = _run_work_unit(request, method, shared)
    return [path for number in range(len(units)) for path in found[number]]


def validate_and_plan(request: Request, method: MethodConfig) -> dict[int, list[EvaluationCell]]:
    """Return the cells of a run, fold by fold, after every check that needs no training.

    Raises `UserError` for a missing file, missing labels or a failed audit.
    """
    _check_request(request, method)
    method = with_dataset_constants(method, request.store.spec.region, request.setting)
    cells = {}
    for fold, plans in plan_cells(request).items():
        recipe = for_fold(method, fold).recipe
        about = None if recipe is None else find_pretraining(recipe.weights)
        cells[fold] = [_audit_cell(request, method, about, plan) for plan in plans]
    return cells


def train_until(request: Request, method: MethodConfig, stage: str) -> list[Path]:
    """Train up to a stage for every fold and group, without evaluation; return the stage's folders or files.

    Raises `UserError` as `run`, and for a stage that the method's training lacks.
    """
    if method.recipe is None:
        raise UserError(f"--train-only {stage}: {method.name} has nothing to train; leave it out")
    cells = validate_and_plan(request, method)
    method = with_logged_constants(method, request.store.spec.region, request.setting)
    training = plan_training(method)
    names = [one.name for one in training.stages if one in training.episode_stages or makes_backbone(method)]
    if stage not in names:
        raise unknown_name(f"stage of {method.name} (--train-only)", stage, names)
    paths = []
    for plans in cells.values():
        for shared in group_by_training(plans, method):
            plan = shared[0].plan
            for name, trained in train_stages(request, method, plan, *training_data(request, plan)):
                if name == stage:
                    paths.append(trained if isinstance(trained, Path) else trained.folder)
                    break
    return [path for path in dict.fromkeys(paths) if path is not None]


def _run_work_unit(request: Request, method: MethodConfig, shared: Sequence[EvaluationCell]) -> list[Path]:
    """Train the model of cells that share a training if it is missing; return the paths of their records."""
    model = _model(request, method, shared[0].plan)
    method = with_labels_of_start(method, model)
    cells = [with_backbone_audit(cell, model.folder) for cell in shared]
    evaluate = evaluate_cells if request.checkpoint_policy == "last" else evaluate_selected
    last = with_last_recipe(method, request.checkpoint_policy)
    paths = evaluate(cells, last, model, _intensities(request, shared[0].plan))
    fold = shared[0].plan.evaluation.fold
    LOG.info(
        "fold %d %s done",
        fold,
        ", ".join(f"{c.plan.evaluation.group} {p.name}" for c, p in zip(shared, paths, strict=True)),
    )
    return paths


def _work_unit_id(method: MethodConfig, shared: Sequence[EvaluationCell]) -> str:
    """Return the name of a work unit's lock file; equal in every process with the same request."""
    request = shared[0].request
    recipe = None if method.recipe is None else dataclasses.asdict(method.recipe)
    other = None if request.train_store is None else request.train_store.hash
    plans = [cell.plan.evaluation.hash for cell in shared]
    evaluation = [request.protocol.hash, request.setting, request.checkpoint_policy, other, plans]
    return "cells-" + hash_of([method.description, recipe, method.seed, method.precision, *evaluation])[:16]


def run_external(
    requests: Sequence[Request],
    method: MethodConfig,
    pattern: str,
    same_for_all: bool,
    name: str | None = None,
) -> list[Path]:
    """Evaluate external checkpoint files and return the records' paths.

    Protocols with equal intensities share the encoded slices. The unknown training is not audited.

    Args:
        requests: one or more protocols of one dataset and setting.
        method: loads the files.
        pattern: path of the files; `{fold}` and `{group}` in it are replaced.
        same_for_all: whether one file may serve several folds; its records are marked.
        name: distinguishes several checkpoints of one method in records, keys and labels.

    Raises `UserError`, before any evaluation, if a record of another file has the same name.
    """
    if method.recipe is None:
        raise UserError(f"{method.name} has nothing to load: leave out --checkpoint")
    method = with_external_labels(method)
    folds_of: dict[Path, set[int]] = {}
    pairs_of: dict[tuple[Any, ...], list[tuple[Request, CellPlan]]] = {}
    for request in requests:
        plans = [plan for plans in plan_cells(request).values() for plan in plans]
        rule = request.protocol.training.normalisation[request.store.spec.modality]
        evaluated = [plan.evaluation for plan in plans]
        for (fold, group), path in checkpoint_files(pattern, evaluated, same_for_all).items():
            folds_of.setdefault(path.resolve(), set()).add(fold)
            plan = next(p for p in plans if (p.evaluation.fold, p.evaluation.group) == (fold, group))
            scans = plan.training.scans if rule == "training-scans" else ()
            pairs_of.setdefault((fold, path, rule, scans), []).append((request, plan))
    if name is not None:
        checked_name("--name", name)
    for pairs in pairs_of.values():
        _check_one_group(method, [plan for _request, plan in pairs])
    work = []
    for (_fold, path, _rule, _scans), pairs in sorted(pairs_of.items(), key=lambda item: item[0][0]):
        marks = (LEAKAGE,) if len(folds_of[path.resolve()]) > 1 else ()
        cells = tuple(
            EvaluationCell(
                request, plan, marks, audit_evaluation(plan.evaluation, request.store, request.protocol)
            )
            for request, plan in pairs
        )
        description = external_description(method, path, name)
        work.append(ExternalCells(path, description, cells, _intensities(*pairs[0])))
    check_other_files(work, method)
    paths = []
    for unit in work:
        device, classes = unit.cells[0].request.device, unit.cells[0].plan.evaluation.classes
        model = external_model(method, unit.path, device, unit.description, classes)
        paths += evaluate_cells(unit.cells, method, model, unit.intensities)
    return paths


def _check_one_group(method: MethodConfig, plans: Sequence[CellPlan]) -> None:
    """Raise `UserError` if one checkpoint of a supervised method would serve several groups of classes."""
    groups = dict.fromkeys(plan.evaluation.group for plan in plans)
    if trains_on_labels(method.learner) and len(groups) > 1:
        raise UserError(
            f"one checkpoint would serve groups {' and '.join(groups)}, but {method.name} has one output for "
            "each class of a group; put {group} into --checkpoint, or name one --groups"
        )


def _audit_cell(
    request: Request, method: MethodConfig, about: Pretraining | None, plan: CellPlan
) -> EvaluationCell:
    """Return the audited cell; the training's audits apply only to a method that trains.

    `about`: the pre-training of the `--weights` backbone, None if unknown.
    """
    held_out: tuple[str, ...] = ()
    if request.checkpoint_policy == "validation":
        plan, held_out = without_validation(request, plan), (HELD_OUT,)
    check_labels(method, plan, request.store)
    if trains_on_labels(method.learner):
        held_out += audit_labels(plan)
    if about is not None:
        audit_unseen(request, plan.evaluation, about)
    checks = (*audit_evaluation(plan.evaluation, request.store, request.protocol), *held_out)
    marks = MARKS[request.checkpoint_policy]
    if request.train_store is not None:
        ours, _theirs, notes = cross_dataset_intensities(request.protocol, request.train_store, request.store)
        plan = cross_dataset_plan(plan, request.train_store)
        checks += audit_cross_dataset(plan, request.train_store, request.store, ours)
        return EvaluationCell(request, plan, (*marks, *notes), checks)
    if method.recipe is not None:
        checks += audit_training(plan, request.store, plan.training.scans, _intensities(request, plan))
    return EvaluationCell(request, plan, marks, checks)


def _check_request(request: Request, method: MethodConfig) -> None:
    """Raise `UserError` for options that contradict each other or the method, before planning."""
    check_needs(method.name, method.learner, request.store, request.setting, method.options)
    if method.recipe is not None and hasattr(method.learner, "check_start"):
        method.learner.check_start(method.options, method.recipe.weights)
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
    for variant in per_fold_variants(method, request.folds):
        if variant.recipe is None:
            continue
        check_stages(request, variant)
        if not makes_backbone(variant):
            weights_file(variant.recipe.weights, variant.recipe.encoder, request.work / "weights")
    if request.train_store is not None:
        check_pair(request.train_store, request.store)
        if request.checkpoint_policy == "validation":
            raise UserError(
                "--checkpoint-policy validation holds a scan of the tested dataset out of training, and "
                "--train-dataset trains on none of them; use --checkpoint-policy last"
            )


def group_by_training(cells: Sequence[EvaluationCell], method: MethodConfig) -> list[list[EvaluationCell]]:
    """Return cells grouped by their training: in setting 1 all groups of a fold share one.

    A method that reads labels of the training group has one training per group.
    """
    if method.recipe is None:
        return [list(cells)]
    if reads_labels(method):
        return [[cell] for cell in cells]
    groups: dict[Any, list[EvaluationCell]] = {}
    for cell in cells:
        groups.setdefault(cell.plan.training, []).append(cell)
    return list(groups.values())


def _schedule(units: Sequence[Sequence[EvaluationCell]], method: MethodConfig) -> list[int]:
    """Return the positions of the work units in their order of execution.

    Units of a fold share training stages, so a method in stages runs the first unit of every fold, then the
    second of every fold: another process need not wait.
    """
    if not has_stages(method):
        return list(range(len(units)))
    folds = [shared[0].plan.evaluation.fold for shared in units]
    turns = [folds[:number].count(fold) for number, fold in enumerate(folds)]
    return sorted(range(len(units)), key=lambda number: turns[number])


def _intensities(request: Request, plan: CellPlan) -> Normalisation:
    """Return the intensities of the query scans."""
    if request.train_store is not None:
        return cross_dataset_intensities(request.protocol, request.train_store, request.store)[1]
    rule = request.protocol.training.normalisation[request.store.spec.modality]
    return normalisation(request.store, rule, plan.training.scans)


def _model(request: Request, method: MethodConfig, plan: CellPlan) -> Model:
    if method.recipe is None:
        return build_yardstick(method)
    return ensure_trained(request, method, plan, *training_data(request, plan))


def training_data(request: Request, plan: CellPlan) -> tuple[Store, Normalisation]:
    """Return the store of the training scans and their intensities."""
    home = request.train_store
    if home is None:
        return request.store, _intensities(request, plan)
    return home, cross_dataset_intensities(request.protocol, home, request.store)[0]
