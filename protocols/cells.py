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
from protocols.environment import environment
from protocols.evaluate import Evaluation
from protocols.models import Method, Model
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
    """Return what tells this cell from all others, as plain JSON values."""
    protocol = request.protocol
    crossed = {"train_dataset": _train_dataset(request)} if request.train_store is not None else {}
    return (
        crossed
        | answered(request)
        | named(model)
        | {
            "protocol": {"name": protocol.name, "version": protocol.version, "hash": protocol.hash},
            "dataset": {"name": request.store.spec.name, "hash": request.store.hash},
            "setting": request.setting,
            "fold": plan.fold,
            "group": plan.group,
            "method": method.description,
            "seed": method.seed,
            "checkpoint": model.description["checkpoint"],
            "shots": plan.rules.shots,
            "parts": len(plan.rules.support_fractions),
            "plan": plan.hash,
            "model": model.description["key"],
        }
    )


def answered(request: Request) -> dict[str, str]:
    """Return how the model answered, for key and record; nothing where that is in float32, as usual."""
    precision = request.answer_precision
    return {} if precision == "float32" else {"answer_precision": precision}


def named(model: Model) -> dict[str, str]:
    """Return the name of a model's checkpoint, for the key; nothing where it has none."""
    name = model.description.get("name")
    return {} if name is None else {"checkpoint_name": name}


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
        **cell_header(request, method, model, plan, marks),
        training=training,
        checks=list(checks),
        fallback_slices=evaluation.fallback_slices,
        scores=evaluation.scores,
        environment=environment(request.device),
    )


def cell_header(
    request: Request, method: Method, model: Model, plan: Plan, marks: Sequence[str]
) -> dict[str, Any]:
    """Return the part of a cell's record that is known before anything is evaluated."""
    identity = cell_identity(request, method, model, plan)
    return {
        "protocol": identity["protocol"],
        "dataset": identity["dataset"],
        "setting": request.setting,
        "fold": plan.fold,
        "group": plan.group,
        "grid": _grid(request),
        "shots": identity["shots"],
        "parts": identity["parts"],
        "plan_hash": plan.hash,
        "method": identity["method"],
        "model": model.description | answered(request),
        "audits": [*marks, *request.protocol.marks(request.setting, plan.group)],
        "train_dataset": _train_dataset(request),
    }


def _train_dataset(request: Request) -> dict[str, str] | None:
    store = request.train_store
    return None if store is None else {"name": store.spec.name, "hash": store.hash}


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
