"""One cell on disk: its key, its record, and its log (time, host, Sacred run)."""

from __future__ import annotations

import json
import platform
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from episodes.plan.plan import CellPlan, EvaluationPlan
from episodes.plan.training_split import TrainingSplit
from episodes.store.store import Store
from fewshot.base.types import ScanScore
from fewshot.encoders.checkpoints import weights_are_finite
from fewshot.files.atomic_io import canonical_json, write_json
from fewshot.identity.key_parts import method_key_part
from fewshot.identity.regimes import trains_on_labels
from fewshot.identity.versions import (
    INFERENCE,
    PRETRAINING,
    SEGMENTATION,
    SUPERVISED_TRAINING,
    TRAINING,
    versions_of,
)
from fewshot.learners.learner import PrototypeLearner
from fewshot.learners.query_mode import query_mode
from protocols.cells.evaluate import Evaluation
from protocols.cells.sacred_run import record_run
from protocols.environment import environment
from protocols.request import Request
from protocols.training.method import MethodConfig
from protocols.training.models import Model
from results.records.files import cell_key
from results.records.record import SCHEMA, Record, checked_record
from results.records.record_json import part_json, read_part
from results.records.record_parts import (
    DatasetPart,
    GridPart,
    LandmarkScore,
    MethodPart,
    ModelPart,
    ProtocolPart,
    Score,
    TrainingPart,
)


def cell_identity(
    request: Request, method: MethodConfig, model: Model, plan: EvaluationPlan
) -> dict[str, Any]:
    """Return the facts that identify this cell, as plain JSON values.

    The model's key stands for its training. File names are left out; the hashes of their contents count.
    """
    protocol = request.protocol
    home = request.train_store
    crossed = {} if home is None else {"train_dataset": {"name": home.spec.name, "hash": home.hash}}
    return (
        crossed
        | evaluation_precision(request)
        | checkpoint_name(model)
        | {
            "protocol": {"name": protocol.name, "version": protocol.version, "hash": protocol.hash},
            "dataset": {"name": request.store.spec.name, "hash": request.store.hash},
            "setting": request.setting,
            "fold": plan.fold,
            "group": plan.group,
            "versions": shared_versions(method, model),
            "queries": query_mode(method.learner),
            "method": method_key_part(method.description)
            | {"labels_used": method.description["labels_used"]},
            "seed": method.seed,
            "checkpoint": model.description["checkpoint"],
            "shots": plan.rules.shots,
            "parts": len(plan.rules.support_fractions),
            "plan": plan.hash,
            "model": model.description["key"],
        }
    )


def shared_versions(method: MethodConfig, model: Model) -> dict[str, int]:
    """Return the versions of the shared parts that a cell's numbers depend on."""
    if isinstance(method.learner, type) and trains_on_labels(method.learner):
        return versions_of(SEGMENTATION, SUPERVISED_TRAINING)
    if not (isinstance(method.learner, type) and issubclass(method.learner, PrototypeLearner)):
        return versions_of(SEGMENTATION)
    if model.description["checkpoint"] == "external":
        return versions_of(INFERENCE)
    pretrained = any("images" in stage for stage in model.description.get("stages", []))
    return versions_of(INFERENCE, TRAINING, PRETRAINING if pretrained else ())


def evaluation_precision(request: Request) -> dict[str, str]:
    """Return the encoder precision of the evaluation for key and record; empty for float32, the default."""
    precision = request.eval_precision
    return {} if precision == "float32" else {"answer_precision": precision}


def checkpoint_name(model: Model) -> dict[str, str]:
    """Return the name of a model's checkpoint for the key; empty for a checkpoint without a name."""
    name = model.description.get("name")
    return {} if name is None else {"checkpoint_name": name}


def key_of_cell(request: Request, method: MethodConfig, model: Model, plan: EvaluationPlan) -> str:
    """Return the key that names the cell's record, predictions and log."""
    return cell_key(cell_identity(request, method, model, plan))


def cell_record(
    request: Request,
    method: MethodConfig,
    model: Model,
    plan: CellPlan,
    evaluation: Evaluation,
    marks: Sequence[str],
    checks: Sequence[str],
    trained: tuple[tuple[str, ...], int, int] | None = None,
    excluded_seen: int = 0,
    landmarks: tuple[LandmarkScore, ...] = (),
) -> Record:
    """Return the checked record of a cell: only facts that its inputs determine.

    Args:
        request: store, protocol and device.
        method: the method with its options and recipe.
        model: the evaluated model.
        plan: the plan of the cell.
        evaluation: the scores of its evaluation plan.
        marks: stand before the marks of the protocol.
        checks: names of the audits that passed.
        trained: (scans, slices, excluded slices) of the model's training; None: those of the plan.
        excluded_seen: number of excluded slices that the pre-training saw.
        landmarks: the points of its evaluation plan, on a dataset that has points.
    """
    scans, slices, excluded = _training_counts(plan.training) if trained is None else trained
    record = unscored_record(request, method, model, plan, marks)
    scored = replace(
        record,
        training=TrainingPart(scans, slices, excluded, excluded_seen or None),
        checks=tuple(checks),
        fallback_slices=evaluation.fallback_slices,
        scores=tuple(_score(score) for score in evaluation.scores),
        landmarks=landmarks,
    )
    return checked_record(scored)


def unscored_record(
    request: Request, method: MethodConfig, model: Model, plan: CellPlan, marks: Sequence[str]
) -> Record:
    """Return a cell's record before its evaluation: without scores, checks and fallback slices."""
    protocol, train_store, evaluated = request.protocol, request.train_store, plan.evaluation
    return Record(
        schema=SCHEMA,
        protocol=ProtocolPart(protocol.name, protocol.version, protocol.hash),
        dataset=_dataset_part(request.store),
        train_dataset=None if train_store is None else _dataset_part(train_store),
        grid=_grid_part(request),
        setting=1 if request.setting == 1 else 2,
        fold=evaluated.fold,
        group=evaluated.group,
        shots=evaluated.rules.shots,
        parts=evaluated.parts,
        plan_hash=evaluated.hash,
        method=read_part(MethodPart, json.loads(canonical_json(method.description))),
        versions=shared_versions(method, model),
        queries=query_mode(method.learner),
        model=_model_part(model, evaluation_precision(request)),
        training=TrainingPart(*_training_counts(plan.training)),
        audits=(*marks, *protocol.marks(request.setting, evaluated.group)),
        fallback_slices=0,
        scores=(),
        environment=environment(request.device),
        key=key_of_cell(request, method, model, evaluated),
    )


def _training_counts(split: TrainingSplit) -> tuple[tuple[str, ...], int, int]:
    """Return a split's scans, and its numbers of slices and of excluded slices."""
    return split.scans, len(split.slices), len(split.excluded)


def _dataset_part(store: Store) -> DatasetPart:
    about = {"name": store.spec.name, "hash": store.hash, "prepared_by": store.prepared_by}
    return read_part(DatasetPart, about)


def _grid_part(request: Request) -> GridPart:
    """Return the grid of a complete table: the number of folds, and every group with its classes."""
    groups = request.protocol.groups_for(request.store.spec)
    folds = len(request.protocol.fold_borders_for(request.store.spec)) - 1
    return GridPart(folds, {name: tuple(classes) for name, classes in groups.items()})


def _model_part(model: Model, more: Mapping[str, Any]) -> ModelPart:
    """Return the model's description with the fields that every model has, and with `more`."""
    known: dict[str, Any] = {"finite": _is_finite(model.learner), "trained_on": [], "name": None}
    text = canonical_json({**known, **model.description, **more})
    return read_part(ModelPart, json.loads(text))


def _is_finite(learner: Any) -> bool | None:
    """Return whether all weights of a learner are finite; None for a learner without weights."""
    has_weights = isinstance(learner, torch.nn.Module) and bool(learner.state_dict())
    return weights_are_finite(learner) if has_weights else None


def _score(score: ScanScore) -> Score:
    return Score(
        score.class_name, score.scan, score.supports, score.slices, score.tp, score.fp, score.fn, score.dice,
        score.undefined,
    )  # fmt: skip


def log_cell(
    request: Request, key: str, model: Model, record: Record, seconds: float, slices: int, path: Path
) -> None:
    """Write the cell's log: time, host and Sacred's run id, which the inputs do not determine.

    Args:
        request: of the cell.
        key: of the cell.
        model: the evaluated model.
        record: of the cell.
        seconds: of the evaluation of all cells that were evaluated together.
        slices: of the query scans of these cells.
        path: of the record.
    """
    dices = [score.dice for score in record.scores if score.dice is not None]
    losses = model.folder / "losses.csv" if model.folder is not None else None
    parts = ("protocol", "dataset", "setting", "fold", "group", "method", "model")
    run_id = record_run(
        request.work / "runs",
        {name: part_json(getattr(record, name)) for name in parts},
        sum(dices) / len(dices) if dices else None,
        losses,
        [path],
        request.observers,
    )
    write_json(
        request.work / "logs" / f"{key}.json",
        {
            "cell": key,
            "device": request.device.type,
            "encoder": model.description["encoder"],
            "evaluation_seconds": round(seconds, 3),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
            "image_size": request.store.spec.image_size,
            "method": record.method.name,
            "platform": platform.platform(),
            "precision": request.eval_precision,
            "protocol": record.protocol.name,
            "sacred_run": run_id,
            "slices": slices,
            "threads": torch.get_num_threads(),
        },
    )
