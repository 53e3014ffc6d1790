"""Evaluation of a trained model under every protocol that it fits, or under others as a marked hybrid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from episodes.plan.plan import CellPlan
from episodes.store.slices import Normalisation, normalisation
from episodes.store.store import Store
from fewshot.base.errors import UserError
from protocols.cells.evaluate_cells import EvaluationCell, evaluate_cells
from protocols.request import Request
from protocols.rules.audits import SLICES, audit_evaluation, audit_training
from protocols.runs.backbone_audit import with_backbone_audit
from protocols.runs.cross_dataset import (
    audit_cross_dataset,
    check_pair,
    cross_dataset_intensities,
    cross_dataset_plan,
)
from protocols.runs.external_checkpoint import with_labels_of_start
from protocols.runs.runner import plan_cells
from protocols.training.method import MethodConfig
from protocols.training.method_config import with_logged_constants
from protocols.training.model_spec import labels_seen, scans_seen, training_differences
from protocols.training.models import Model

HYBRID = "hybrid: off the main board, trained with other"
STORE = "prepared dataset"


class DoesNotFitError(UserError):
    """The training of a model allows none of the requested cells."""


@dataclass
class ExistingEvaluation:
    """Paths of the written records, and protocol -> message for every refused protocol."""

    paths: list[Path] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def evaluate_existing(
    requests: Sequence[Request],
    method: MethodConfig,
    model: Model,
    spec: Mapping[str, Any],
    allow_mismatch: bool = False,
) -> ExistingEvaluation:
    """Evaluate a model under every protocol and setting of `requests`, on the folds and groups that it fits.

    Each slice is encoded once for all requests, with the intensities of the training.

    Args:
        requests: of one dataset. With a `train_store`, the model was trained on all of that dataset.
        method: the method with its options and recipe.
        model: the trained model.
        spec: its `spec.json`.
        allow_mismatch: also evaluate cells that the model does not fit, and mark them as hybrid. Cells whose
            queries the training saw stay excluded.

    Returns:
        The records' paths and, for every protocol without a fitting cell, the rules that differ.

    Raises:
        DoesNotFitError: the model fits no cell, or was trained on another prepared dataset.
    """
    home = requests[0].train_store or requests[0].store
    if spec["store"] != home.hash:
        raise DoesNotFitError(
            f"model {model.description['key']} was trained on another {STORE}: {spec['store']}, {home.path} "
            f"is {home.hash}; prepare it as it was, or train again"
        )
    if requests[0].train_store is not None:
        check_pair(home, requests[0].store)
        if allow_mismatch:
            raise UserError("--allow-mismatch is for the dataset of the training: leave it or --dataset out")
    intensities = normalisation(home, spec["normalisation"], spec["training_scans"])
    cells: dict[int, list[EvaluationCell]] = {}
    reasons: dict[str, dict[str, None]] = {}
    fitting: set[str] = set()
    for request in requests:
        for plan in (plan for plans in plan_cells(request).values() for plan in plans):
            if request.train_store is not None:
                plan = cross_dataset_plan(plan, home)
            differing = _differences(spec, plan, request, home)
            seen = bool(set(plan.evaluation.query_scans) & scans_seen(spec)) or labels_seen(
                spec, plan.evaluation
            )
            if not differing or (allow_mismatch and not seen):
                fitting.add(request.protocol.name)
                cell = _evaluation_cell(request, plan, spec, differing, intensities)
                cells.setdefault(plan.evaluation.fold, []).append(with_backbone_audit(cell, model.folder))
            else:
                reasons.setdefault(request.protocol.name, {}).update(dict.fromkeys(differing))
    refused = {
        name: f"model {model.description['key']} fits no fold and group of "
        f"setting {', '.join(sorted({str(request.setting) for request in requests}))} under {name}: other "
        f"{', '.join(rules)}" + ("; all of its queries were trained on" if allow_mismatch else "")
        for name, rules in reasons.items()
        if name not in fitting
    }
    if not cells:
        remedy = "choose a protocol, setting and fold that it was trained for" + (
            "" if allow_mismatch else ", or add --allow-mismatch to have the records marked"
        )
        raise DoesNotFitError("; ".join([*refused.values(), remedy]))
    for setting in sorted({cell.request.setting for of_fold in cells.values() for cell in of_fold}):
        with_logged_constants(method, requests[0].store.spec.region, setting)
    method = with_labels_of_start(method, model)
    evaluation = ExistingEvaluation(refused=refused)
    first = next(iter(cells.values()))[0].request
    if first.train_store is not None:  # equal for all that fit: they agree on the training's modality
        intensities = cross_dataset_intensities(first.protocol, home, first.store)[1]
    for fold in sorted(cells):
        evaluation.paths += evaluate_cells(cells[fold], method, model, intensities)
    return evaluation


def _differences(spec: Mapping[str, Any], plan: CellPlan, request: Request, home: Store) -> list[str]:
    rule = request.protocol.training.normalisation[home.spec.modality]
    return training_differences(spec, plan, home, rule)


def _evaluation_cell(
    request: Request,
    plan: CellPlan,
    spec: Mapping[str, Any],
    differing: Sequence[str],
    intensities: Normalisation,
) -> EvaluationCell:
    checks = audit_evaluation(plan.evaluation, request.store, request.protocol)
    if request.train_store is not None:
        marks = cross_dataset_intensities(request.protocol, request.train_store, request.store)[2]
        checks += audit_cross_dataset(plan, request.train_store, request.store, intensities)
        return EvaluationCell(request, plan, marks, checks)
    scans = tuple(spec["training_scans"])
    checks += tuple(_training_audits(plan, request, scans, differing, intensities))
    if not differing:
        return EvaluationCell(request, plan, (), checks)
    depth = sum(request.store.index.depths[scan] for scan in scans)
    slices = int(spec["training_slices"])
    return EvaluationCell(
        request, plan, (f"{HYBRID} {', '.join(differing)}",), checks, (scans, slices, depth - slices)
    )


def _training_audits(
    plan: CellPlan,
    request: Request,
    scans: tuple[str, ...],
    differing: Sequence[str],
    intensities: Normalisation,
) -> Iterator[str]:
    """Yield the passed audits of the training, without that of the slices for a hybrid."""
    for name in audit_training(plan, request.store, scans, intensities):
        if name != SLICES or not differing:
            yield name
