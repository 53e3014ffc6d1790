"""Jobs of a campaign: command lines that run what is missing, shared stages of trainings first."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protocols.campaign.costs import RECKONED, Costs
from protocols.campaign.stage_keys import StageKey
from protocols.campaign.units import CellName, Unit


@dataclass(frozen=True)
class Job:
    """One command line of a campaign.

    Attributes:
        number: position in the list.
        label: what it does, in words.
        command: words after `fewshot`.
        after: number of the job that trains the shared stage before this one; None without one.
        cells: the cells that it records; empty for a shared stage.
        seconds: estimated cost on one device.
        basis: where the estimate is from, "measured" or "reckoned".
    """

    number: int
    label: str
    command: tuple[str, ...]
    after: int | None
    cells: tuple[CellName, ...]
    seconds: float
    basis: str

    @property
    def line(self) -> str:
        """The shell-quoted command."""
        return shlex.join(["fewshot", *self.command])


def list_jobs(units: Sequence[Unit], costs: Costs) -> list[Job]:
    """Return the jobs of the missing cells: shared stages by depth, then one job per unit.

    A stage is shared if several units with missing cells need it and the next stage is not shared by the same
    units. Finished stages have no job.
    """
    todo = [unit for unit in units if unit.missing]
    users: dict[str, int] = {}
    for unit in todo:
        for stage in unit.stages:
            users[stage.identity] = users.get(stage.identity, 0) + 1
    jobs: list[Job] = []
    job_of: dict[str, int] = {}
    deepest = max((len(unit.stages) for unit in todo), default=0)
    for depth in range(deepest):
        for unit in todo:
            if _is_branch(unit.stages, depth, users) and unit.stages[depth].identity not in job_of:
                job_of[unit.stages[depth].identity] = len(jobs)
                jobs.append(_stage_job(len(jobs), unit, depth, job_of, costs))
    for unit in todo:
        jobs.append(_unit_job(len(jobs), unit, job_of, costs))
    return jobs


def _is_branch(stages: Sequence[StageKey], depth: int, users: Mapping[str, int]) -> bool:
    """Return whether several units need the stage at `depth` and do not all share the next one."""
    if depth >= len(stages) or stages[depth].finished:
        return False
    count = users[stages[depth].identity]
    following = users[stages[depth + 1].identity] if depth + 1 < len(stages) else 0
    return count > 1 and following < count


def _stage_job(number: int, unit: Unit, depth: int, job_of: Mapping[str, int], costs: Costs) -> Job:
    stage, first = unit.stages[depth], unit.missing[0]
    options = (*unit.run.options, f"--folds={first.fold}", f"--groups={first.group}")
    after, begin = _parent(unit.stages[:depth], job_of)
    cost = costs.training(unit.stages[begin : depth + 1])
    label = f"{first.method}, {first.dataset}, fold {first.fold}: stage {stage.name}"
    return Job(
        number, label, ("run", *options, f"--train-only={stage.name}"), after, (), cost.seconds, cost.basis
    )


def _unit_job(number: int, unit: Unit, job_of: Mapping[str, int], costs: Costs) -> Job:
    first = unit.missing[0]
    groups = ",".join(cell.group for cell in unit.missing)
    after, begin = _parent(unit.stages, job_of)
    cost = costs.training(unit.stages[begin:]) + costs.evaluation(unit)
    label = (
        f"{first.method}, {first.dataset}, {first.protocol}, setting {first.setting}, seed {first.seed}, "
        f"fold {first.fold}, {groups}"
    )
    options = (*unit.run.options, f"--folds={first.fold}", f"--groups={groups}")
    return Job(number, label, ("run", *options), after, unit.missing, cost.seconds, cost.basis)


def _parent(stages: Sequence[StageKey], job_of: Mapping[str, int]) -> tuple[int | None, int]:
    """Return the job of the last shared stage among `stages`, and the position after it."""
    for depth in reversed(range(len(stages))):
        if stages[depth].identity in job_of:
            return job_of[stages[depth].identity], depth + 1
    return None, 0


def render_job(job: Job) -> str:
    """Return the command line of a job, with estimate and predecessor as a comment of the shell."""
    after = "" if job.after is None else f", after job {job.after}"
    return f"{job.line}  # job {job.number}: {duration(job.seconds)} {job.basis}{after}"


def job_json(job: Job) -> dict[str, Any]:
    """Return a job as plain JSON values."""
    return {**dataclasses.asdict(job), "line": job.line}


def summarise_jobs(units: Sequence[Unit], jobs: Sequence[Job]) -> str:
    """Return in one line how much is missing and what it costs."""
    recorded = sum(len(unit.recorded) for unit in units)
    missing = sum(len(unit.missing) for unit in units)
    stages = sum(not job.cells for job in jobs)
    reckoned = sum(job.basis == RECKONED for job in jobs)
    total = duration(sum(job.seconds for job in jobs))
    basis = f"; {reckoned} reckoned by docs/scaling.md, the others measured here" if reckoned else ""
    return (
        f"{missing} of {recorded + missing} cells missing: {stages} shared stages and {len(jobs) - stages} "
        f"commands with cells, {total} on one device{basis}"
    )


def duration(seconds: float) -> str:
    """Return seconds as a text in s, min or h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
