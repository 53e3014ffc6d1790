"""One cell on disk: its key, its record, and the log of what its inputs do not determine."""

from __future__ import annotations

import platform
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from episodes.plan import Plan
from episodes.store import Store
from fewshot.files import write_json
from fewshot.learner import PrototypeLearner
from fewshot.method_identity import method_key_part
from fewshot.versions import INFERENCE, PRETRAINING, SEGMENTATION, TRAINING, versions_of
from protocols.environment import environment
from protocols.evaluate import Evaluation
from protocols.method import Method
from protocols.models import Model
from protocols.provenance import record_run
from protocols.spec import Protocol
from results.records import cell_key, make_record


@dataclass(frozen=True)
class Request:
    """What a run is asked for, names already resolved."""

    store: Store
    protocol: Protocol
    setting: int
    folds: tuple[int, ...]
    groups: tuple[str, ...]
    work: Path
    device: torch.device
    batch: int
    checkpoint_every: int = 200
    save_predictions: bool = False
    redo: bool = False
    train_store: Store | None = None  # another dataset to train on: protocols/crossed.py
    answer_precision: str = "float32"  # of the encoder that answers
    select: str = "last"  # which checkpoint of a training answers: protocols/selection.py


def cell_identity(request: Request, method: Method, model: Model, plan: Plan) -> dict[str, Any]:
    """Return what tells this cell from all others, as plain JSON values.

    The model's key covers what its training depended on. Names of files are left out: their content counts.
    """
    protocol = request.protocol
    crossed = {"train_dataset": _train_dataset(request)} if request.train_store is not None else {}
    return (
        crossed
        | answered(request)
        | {
            "protocol": _protocol(protocol),
            "dataset": _dataset(request.store),
            "setting": request.setting,
            "fold": plan.fold,
            "group": plan.group,
            "versions": shared_versions(method, model),
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


def shared_versions(method: Method, model: Model) -> dict[str, int]:
    """Return the versions of the shared parts that a cell's numbers depend on."""
    if not (isinstance(method.learner, type) and issubclass(method.learner, PrototypeLearner)):
        return versions_of(SEGMENTATION)
    if model.description["checkpoint"] == "external":
        return versions_of(INFERENCE)
    pretrained = "1" in model.description.get("stages", {})
    return versions_of(INFERENCE, TRAINING, PRETRAINING if pretrained else ())


def answered(request: Request) -> dict[str, str]:
    """Return how the model answered, for key and record; nothing where that is in float32, as usual."""
    precision = request.answer_precision
    return {} if precision == "float32" else {"answer_precision": precision}


def key_of(request: Request, method: Method, model: Model, plan: Plan) -> str:
    """Return the key under which the cell's record, predictions and log lie."""
    return cell_key(cell_identity(request, method, model, plan))


def cell_record(
    request: Request, method: Method, model: Model, plan: Plan, evaluation: Evaluation, marks: Sequence[str],
    checks: Sequence[str], trained: tuple[tuple[str, ...], int, int] | None = None, excluded_seen: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Return the checked record of a cell: only what its inputs determine.

    `marks` join those of the protocol; `checks`: audits that passed; `trained`: (scans, slices, slices
    excluded) of the model's training where they are not the plan's; `excluded_seen`: slices excluded that
    pre-training saw all the same.
    """
    ours = plan.training_scans, len(plan.training_slices), len(plan.excluded)
    scans, slices, excluded = ours if trained is None else trained
    training: dict[str, Any] = {"scans": list(scans), "slices": slices, "slices_excluded": excluded}
    if excluded_seen:
        training["excluded_seen"] = excluded_seen
    return make_record(
        protocol=_protocol(request.protocol),
        dataset=_dataset(request.store),
        setting=request.setting,
        fold=plan.fold,
        group=plan.group,
        grid=_grid(request),
        shots=plan.rules.shots,
        parts=len(plan.rules.support_fractions),
        plan_hash=plan.hash,
        versions=shared_versions(method, model),
        method=method.description,
        model=model.description | answered(request),
        training=training,
        audits=[*marks, *request.protocol.marks(request.setting, plan.group)],
        checks=list(checks),
        train_dataset=_train_dataset(request),
        fallback_slices=evaluation.fallback_slices,
        scores=evaluation.scores,
        environment=environment(request.device),
    )


def _train_dataset(request: Request) -> dict[str, str] | None:
    return None if request.train_store is None else _dataset(request.train_store)


def _dataset(store: Store) -> dict[str, str]:
    return {"name": store.spec.name, "hash": store.hash}


def _protocol(protocol: Protocol) -> dict[str, Any]:
    return {"name": protocol.name, "version": protocol.version, "hash": protocol.hash}


def _grid(request: Request) -> dict[str, Any]:
    """Return what a complete table has: the number of folds, and every group with its classes."""
    groups = request.protocol.groups_for(request.store.spec)
    return {
        "folds": len(request.protocol.fold_borders_for(request.store.spec)) - 1,
        "groups": {name: list(classes) for name, classes in groups.items()},
    }


def log_cell(
    request: Request, key: str, model: Model, record: dict[str, Any], seconds: float, path: Path
) -> None:
    """Keep what the inputs do not determine (time, host, Sacred's run id) beside the record, not in it."""
    dices = [score["dice"] for score in record["scores"] if score["dice"] is not None]
    losses = model.folder / "losses.csv" if model.folder is not None else None
    run_id = record_run(
        request.work / "runs",
        {
            name: record[name]
            for name in ("protocol", "dataset", "setting", "fold", "group", "method", "model")
        },
        sum(dices) / len(dices) if dices else None,
        losses,
        [path],
    )
    write_json(
        request.work / "logs" / f"{key}.json",
        {
            "cell": key,
            "evaluation_seconds": round(seconds, 3),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
            "platform": platform.platform(),
            "sacred_run": run_id,
            "threads": torch.get_num_threads(),
        },
    )
