"""Plan files that `fewshot plan --out` wrote: read, and rebuilt from store and protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from episodes.plan.plan import CellPlan, EvaluationPlan, make_plan
from episodes.store.store import Store
from fewshot.base.errors import UserError, short
from fewshot.files.atomic_io import hash_of
from fewshot.files.names import checked_name
from fewshot.files.seals import read_sealed
from protocols.rules.spec import Protocol


@dataclass(frozen=True)
class PlanFile:
    """The content of a plan file: one setting of one dataset and protocol.

    `cells`: (fold, group) -> plan hash, in the file's order. `evaluations`: (fold, group) -> plan as JSON.
    `exclusion`: the rule by which setting 2 excludes training slices.
    """

    path: Path
    protocol: str
    protocol_hash: str
    dataset: str
    dataset_hash: str
    setting: int
    cells: Mapping[tuple[int, str], str]
    shots: int
    parts: int
    evaluations: Mapping[tuple[int, str], Mapping[str, Any]]
    exclusion: str


def read_plan_file(path: Path) -> PlanFile:
    """Return the content of a plan file; `UserError` if the file is missing, not a plan, empty or edited."""
    content = read_sealed(path, f"expected a plan file: write one with fewshot plan --out {path}")
    try:
        plans = content["plans"]
        for plan in plans:
            if hash_of(plan["evaluation"])[:16] != plan["plan_hash"]:
                raise UserError(
                    f"{path}: the plan of fold {plan['evaluation']['fold']} does not fit its own hash "
                    f"{plan['plan_hash']}, so it was edited; write it again with fewshot plan --out"
                )
        data = [plan["evaluation"]["dataset"] for plan in plans]
        about = {
            (
                one["name"], one["hash"], plan["setting"], int(plan["rules"]["shots"]),
                len(plan["rules"]["support_fractions"]), str(plan["rules"]["exclusion"]),
            )
            for one, plan in zip(data, plans, strict=True)
        }  # fmt: skip
        cells = {
            (int(plan["evaluation"]["fold"]), str(plan["evaluation"]["group"])): str(plan["plan_hash"])
            for plan in plans
        }
        evaluations = {cell: plan["evaluation"] for cell, plan in zip(cells, plans, strict=True)}
        protocol, protocol_hash = str(content["protocol"]["name"]), str(content["protocol"]["hash"])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise UserError(
            f"{path} is not a plan file ({short(repr(error))}); expected a file that fewshot plan --out wrote"
        ) from None
    if len(about) != 1:
        raise UserError(
            f"{path} holds plans of {len(about)} datasets and settings, expected exactly one; write it again "
            "with fewshot plan --out"
        )
    ((dataset, dataset_hash, setting, shots, parts, exclusion),) = about
    checked_name(f"{path}: dataset", dataset)
    return PlanFile(
        path, protocol, protocol_hash, dataset, dataset_hash, setting, cells, shots, parts, evaluations,
        exclusion,
    )  # fmt: skip


def rebuild_plans(file: PlanFile, store: Store, protocol: Protocol) -> list[CellPlan]:
    """Return the plans of a file, rebuilt from store and protocol; `UserError` if a hash differs."""
    if protocol.hash != file.protocol_hash:
        raise UserError(
            f"{file.path} was made under {file.protocol} with hash {file.protocol_hash[:16]}, "
            f"{protocol.name} here has {protocol.hash[:16]}; write the plan again, or name its file with "
            "--protocol"
        )
    if store.hash != file.dataset_hash:
        raise UserError(
            f"{file.path} is for {file.dataset} with hash {file.dataset_hash}, {store.path} has "
            f"{store.hash}; prepare the dataset from the same files, or write the plan again"
        )
    groups = protocol.groups_for(store.spec)
    plans = [
        make_plan(
            store.index, store.spec, store.hash, protocol.evaluation, file.setting, fold, group,
            groups.get(group, ()),
        )
        for fold, group in file.cells
    ]  # fmt: skip
    for plan in (cell.evaluation for cell in plans):
        expected = file.cells[plan.fold, plan.group]
        if plan.hash != expected:
            raise UserError(
                f"{file.path}: fold {plan.fold}, group {plan.group} has plan {expected}, store and protocol "
                f"here give {plan.hash}; write the plan again with this program, or use the one that wrote it"
            )
        check_one_support(file.path, plan)
    return plans


def check_one_support(path: Path, plan: EvaluationPlan) -> None:
    """Raise `UserError` for a plan with several supports for one class of one scan: a file holds one mask."""
    supports: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for task in plan.tasks:
        if task.queries:
            scans = tuple(dict.fromkeys(ref.scan for ref in task.support))
            supports.setdefault((task.class_name, task.queries[0].scan), set()).add(scans)
    for (class_name, scan), found in supports.items():
        if len(found) > 1:
            raise UserError(
                f"{path}: queries {class_name} of scan {scan} from {len(found)} supports in turn, but a file "
                "holds one mask; use a protocol with one support, e.g. alpnet-ep1"
            )
