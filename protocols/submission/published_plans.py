"""Published plans: the plan files that this program ships, and those of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fewshot.base.errors import UserError, listed
from protocols.scoring.plan_file import PlanFile, read_plan_file
from results.records.record import Record

HOME = Path(__file__).resolve().parent.parent / "plans"
ScoreKey = tuple[str, str, tuple[str, ...]]  # class, query scan, support scans


def plan_names() -> tuple[str, ...]:
    """Return the names of the shipped plan files."""
    return tuple(sorted(path.stem for path in HOME.glob("*.json")))


def plan_path(text: str) -> Path:
    """Return the file of a shipped plan's name, else the path that the text is."""
    return HOME / f"{text}.json" if text in plan_names() else Path(text)


def read_plans(folders: Sequence[Path] = ()) -> list[PlanFile]:
    """Return the shipped plan files, then those of folders; `UserError` for a bad file or folder."""
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"no folder of plans at {folder}; give a folder of files of fewshot plan --out")
    return [read_plan_file(path) for folder in (HOME, *folders) for path in sorted(folder.glob("*.json"))]


def plan_of(record: Record, plans: Sequence[PlanFile]) -> PlanFile | None:
    """Return the plan file of a record's question; None without one.

    A file fits if dataset, protocol, setting, shots and parts are equal, hashes included.
    """
    wanted = (
        record.dataset.name, record.dataset.hash, record.protocol.name, record.protocol.hash, record.setting,
        record.shots, record.parts,
    )  # fmt: skip
    for file in plans:
        about = (
            file.dataset, file.dataset_hash, file.protocol, file.protocol_hash, file.setting, file.shots,
            file.parts,
        )  # fmt: skip
        if about == wanted:
            return file
    return None


def missing_plan_text(record: Record, plans: Sequence[PlanFile]) -> str:
    """Return the line that refuses records without a published plan."""
    known = listed(
        f"{file.dataset} {file.dataset_hash[:8]} setting {file.setting} {file.protocol}" for file in plans
    )
    return (
        f"no published plan for {record.dataset.name} {record.dataset.hash[:8]}, setting {record.setting}, "
        f"{record.protocol.name}, shots {record.shots}, parts {record.parts}; known: {known}; add a folder "
        "with the file of fewshot plan --out by --plans DIR"
    )


def planned_scores(file: PlanFile, fold: int, group: str) -> dict[ScoreKey, int]:
    """Return (class, query scan, supports) -> number of scored slices, for all scores of a cell.

    A class that a query scan does not show has a score of 0 slices.
    """
    plan = file.evaluations[fold, group]
    slices: dict[ScoreKey, int] = {}
    for task in plan["tasks"]:
        supports = tuple(dict.fromkeys(str(scan) for scan, _z in task["support"]))
        for scan, _z, is_scored in task["queries"]:
            key = (str(task["class"]), str(scan), supports)
            slices[key] = slices.get(key, 0) + bool(is_scored)
    for class_name, scan, _reason in plan["undefined"]:
        slices[str(class_name), str(scan), tuple(plan["support_scans"])] = 0
    return slices


def compares_slices(file: PlanFile) -> bool:
    """Say whether some part of the plan has two query slices, so that a run compares their masks."""
    return any(len(task["queries"]) > 1 for plan in file.evaluations.values() for task in plan["tasks"])
