"""Checkpoint policies: the last step, the best on a held-out training scan, or the best on the test fold.

`validation` holds the scan before the fold (circular) out of training and segments it as a query, from the
fold's own support. Its labels of the tested classes choose the step, and every record says so. `oracle`
chooses the step by the Dice on the test fold, as some released scripts do; its numbers are off the main
board. Candidates are the recipe's snapshots and the last step.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from episodes.plan.plan import CellPlan, EvaluationPlan, make_plan
from episodes.plan.roles import integer_sorted
from episodes.store.slices import Normalisation, SliceReader
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.types import ScanScore
from fewshot.encoders.backbone_file import Pretraining
from fewshot.encoders.checkpoints import checkpoint_entry, load_state
from fewshot.learners.recipe import Recipe
from protocols.cells.cell_record import key_of_cell
from protocols.cells.evaluate import evaluate
from protocols.cells.evaluate_cells import EvaluationCell, evaluate_cells
from protocols.request import Request
from protocols.rules.audits import audit_backbone, audit_images
from protocols.training.method import MethodConfig
from protocols.training.models import Model, read_model_checkpoint
from protocols.training.spec_file import REMEDY
from results.records.files import cell_file
from results.summary.frame import mean_dice

POLICIES = ("last", "validation", "oracle")
ORACLE = "off the main board: checkpoint picked on the test fold (oracle)"
VALIDATION = "checkpoint picked with labels of the tested classes, on a training scan (validation)"
MARKS = {"last": (), "validation": (VALIDATION,), "oracle": (ORACLE,)}
HELD_OUT = "validation scan held out of training"


def scan_before(request: Request, plan: EvaluationPlan) -> str:
    """Return the scan before the plan's fold, circular: the one that `validation` holds out."""
    scans = integer_sorted(request.store.index.scans)
    return scans[request.protocol.fold_borders_for(request.store.spec)[plan.fold] - 1]


def without_validation(request: Request, plan: CellPlan) -> CellPlan:
    """Return the plan without the scan before its fold in training; `UserError` if training needs it."""
    evaluated = plan.evaluation
    scan = scan_before(request, evaluated)
    if scan not in plan.training.scans or len(plan.training.scans) < 2:
        raise UserError(
            f"--checkpoint-policy validation: scan {scan}, the one before fold {evaluated.fold}, is no "
            "training scan that can be spared; use --checkpoint-policy last or a dataset with more scans"
        )
    return CellPlan(evaluated, plan.training.without_scan(scan))


def audit_unseen(request: Request, plan: EvaluationPlan, about: Pretraining) -> None:
    """Raise `AuditError` if a backbone saw a query of the plan or the scan that chooses the step."""
    audit_backbone(plan, request.store, about)
    if request.checkpoint_policy == "validation":
        scan = scan_before(request, plan)
        audit_images(
            (scan,), request.store, about, f"--checkpoint-policy validation holds out for fold {plan.fold}"
        )


def validation_plan(plan: EvaluationPlan, scan: str, store: Store) -> EvaluationPlan:
    """Return the plan with `scan` as its query, the group's classes and the fold's first support set."""
    scans = integer_sorted(store.index.scans)
    place = scans.index(scan)
    borders = tuple(sorted({0, place, place + 1, len(scans)}))
    fold = borders.index(place)
    first = next(task for task in plan.tasks if task.queries).support
    listed = tuple(scans.index(support) for support in dict.fromkeys(ref.scan for ref in first))
    rules = dataclasses.replace(
        plan.rules,
        support_scan="listed",
        fold_borders=((store.spec.name, borders),),
        listed_supports=((store.spec.name, tuple(listed for _ in borders[1:])),),
    )
    return make_plan(store.index, store.spec, store.hash, rules, 1, fold, plan.group, plan.classes).evaluation


def evaluate_selected(
    cells: Sequence[EvaluationCell], method: MethodConfig, model: Model, intensities: Normalisation
) -> list[Path]:
    """Choose the best step for every cell, evaluate it, and return the records' paths.

    The policy names the scans that choose; the earliest of equally good steps wins. If all records exist,
    nothing is evaluated, unless the request has `overwrite` or `save_predictions`.
    """
    request = cells[0].request
    policy = request.checkpoint_policy
    named = dataclasses.replace(model, description={**model.description, "checkpoint": policy})
    keys = [key_of_cell(cell.request, method, named, cell.plan.evaluation) for cell in cells]
    paths = [path for key in keys if (path := cell_file(request.work / "records", key)) is not None]
    if len(paths) == len(keys) and not request.overwrite and not request.save_predictions:
        return paths
    plans = [
        plan if policy == "oracle" else validation_plan(plan, scan_before(request, plan), request.store)
        for plan in (cell.plan.evaluation for cell in cells)
    ]
    assert method.recipe is not None
    steps = candidates(method.recipe)
    reader = SliceReader(request.store, intensities)
    dices: list[list[float]] = []
    for step in steps:
        _load(model, step, method)
        found = evaluate(
            model.learner, plans, reader, device=request.device, batch=request.batch,
            precision=request.eval_precision,
        )  # fmt: skip
        dices.append([_mean(result.scores, plan) for result, plan in zip(found, plans, strict=True)])
    written: list[Path] = []
    for number, cell in enumerate(cells):
        own = [of_step[number] for of_step in dices]
        best = own.index(max(own))
        skipped = _load(model, steps[best], method)
        about: dict[str, Any] = {
            "step": steps[best],
            "candidates": list(steps),
            "on": "the test fold"
            if policy == "oracle"
            else f"scan {scan_before(request, cell.plan.evaluation)}",
            "dice": own[best],
            "dices": own,
        }
        chosen = {**named.description, "skipped_episodes": skipped, "selected": about}
        written += evaluate_cells([cell], method, dataclasses.replace(model, description=chosen), intensities)
    return written


def candidates(recipe: Recipe, cost: str = "") -> tuple[int, ...]:
    """Return the steps to choose from, with the last step; `UserError` if there is no other.

    `cost`: text for the message, the further cost of more snapshots.
    """
    every, last = recipe.snapshot_every, recipe.steps
    steps = tuple(range(every, last, every)) if every else ()
    if not steps:
        raise UserError(
            f"nothing to select from: a training of {last} steps with snapshot_every={every} keeps its last "
            f"step alone; use --option snapshot_every=N with N below the steps{cost}, or --checkpoint-policy "
            "last"
        )
    return (*steps, last)


def _load(model: Model, step: int, method: MethodConfig) -> int:
    """Load the weights of a step into the learner; return the number of episodes skipped until that step."""
    assert model.folder is not None and method.recipe is not None
    path = model.folder / ("last.pt" if step == method.recipe.steps else f"step_{step}.pt")
    if not path.is_file():
        raise UserError(
            f"snapshot {path} is missing; delete its folder to train again, or use --checkpoint-policy last"
        )
    state = read_model_checkpoint(model.folder, path.name)
    found = checkpoint_entry(state, "step", int, path)
    if found != step:
        raise UserError(f"{path} is of step {found}, expected {step}: it was copied; {REMEDY}")
    load_state(model.learner, checkpoint_entry(state, "model", dict, path), path)
    skipped: int = checkpoint_entry(state, "skipped", int, path)
    return skipped


def _mean(scores: Sequence[ScanScore], plan: EvaluationPlan) -> float:
    """Return the mean over classes of the mean Dice over scans, in [0,1]; `UserError` if it is undefined."""
    mean = mean_dice(scores)
    if math.isnan(mean):
        raise UserError(
            f"no class of group {plan.group} has a Dice on scan {', '.join(plan.query_scans)}, so no "
            "checkpoint can be chosen there; use --checkpoint-policy last"
        )
    return mean
