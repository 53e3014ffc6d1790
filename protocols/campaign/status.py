"""Progress of submitted campaigns: recorded, running, waiting and failed cells, and the logs of failures."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewshot.base.errors import UserError
from protocols.campaign.campaign_file import campaigns
from protocols.campaign.outcomes import log_file, outcome
from results.records.files import recorded_keys

RECORDED, RUNNING, WAITING, FAILED = "recorded", "running", "waiting", "failed"
SLURM = "slurm"
STATES = (RECORDED, RUNNING, WAITING, FAILED)
# states of squeue in which a job is not computing but will; the last ones are those of a job that returns
QUEUED = (
    "PENDING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED", "CONFIGURING", "RESV_DEL_HOLD",
    "PREEMPTED", "NODE_FAIL",
)  # fmt: skip
ENDED_WELL = "COMPLETED"
COMPUTING = ("RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "STOPPED", "RESIZING")


@dataclass(frozen=True)
class Failure:
    """A job that ended without success: its label, its command line and its log, None if it never ran."""

    campaign: str
    label: str
    line: str
    log: Path | None


@dataclass(frozen=True)
class Status:
    """`rows`: counts of cells by method, dataset, protocol and setting. `stages`: counts of shared stages."""

    rows: list[dict[str, Any]]
    stages: dict[str, int]
    failures: list[Failure]


def campaign_status(work: Path, name: str | None = None) -> Status:
    """Return the status of a campaign of a work folder, by default of all.

    A cell is recorded if its record exists, or if its job ended well. A failed cell that a later campaign
    records counts as recorded.

    Raises `UserError` without a campaign of that name.
    """
    found = [(folder, content) for folder, content in campaigns(work) if name in (None, folder.name)]
    if not found:
        known = ", ".join(folder.name for folder, _content in campaigns(work)) or "none"
        which = "no campaign was submitted" if name is None else f"no campaign {name!r} (known: {known})"
        raise UserError(f"{which} in {work}; submit one with: fewshot submit")
    recorded = recorded_keys(work / "records")
    state_of: dict[tuple[Any, ...], str] = {}
    stages = dict.fromkeys(STATES, 0)
    failures: list[Failure] = []
    queue = _queue(
        job["id"] for _folder, content in found if content["engine"] == SLURM for job in content["jobs"]
    )
    for folder, content in found:
        states = _job_states(folder, content, queue)
        with_cells = {job for *_cell, job in content["cells"]}
        for *cell, key, job in content["cells"]:
            state = RECORDED if job is None or key in recorded else states[job]
            before = state_of.get(tuple(cell))
            state_of[tuple(cell)] = state if before != RECORDED else RECORDED
        for number, (job, state) in enumerate(zip(content["jobs"], states, strict=True)):
            if number not in with_cells:
                stages[state] += 1
            if state == FAILED:
                failures.append(Failure(folder.name, job["label"], job["line"], log_file(folder, job["id"])))
    return Status(_count(state_of), stages, failures)


def _count(state_of: Mapping[tuple[Any, ...], str]) -> list[dict[str, Any]]:
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for (method, dataset, protocol, setting, *_rest), state in state_of.items():
        place = (method, dataset, protocol, setting)
        if place not in rows:
            names = dict(zip(("method", "dataset", "protocol", "setting"), place, strict=True))
            rows[place] = {**names, "cells": 0, **dict.fromkeys(STATES, 0)}
        rows[place]["cells"] += 1
        rows[place][state] += 1
    return list(rows.values())


def _job_states(folder: Path, content: Mapping[str, Any], queue: Mapping[str, str]) -> list[str]:
    states: list[str] = []
    files = _names(folder)
    for job in content["jobs"]:
        job_id = job["id"]
        if job["state"] is not None:  # of the local engine
            state = {"done": RECORDED, "running": RUNNING}.get(job["state"], FAILED)
            if state == RUNNING and not _is_alive(job_id):
                state = FAILED
        elif job_id is None or queue.get(job_id) in QUEUED:
            state = WAITING
        elif queue.get(job_id) in COMPUTING:
            state = RUNNING
        elif queue.get(job_id) == ENDED_WELL:
            state = RECORDED
        else:  # it has ended, and may be gone from Slurm's memory
            finished = f"{job_id}_0_result.pkl" in files and outcome(folder, job_id) == 0
            state = RECORDED if finished else FAILED
        states.append(state)
    return states


def _queue(ids: Iterable[str | None]) -> dict[str, str]:
    """Return id -> state of the jobs that Slurm remembers, also ended ones; empty without Slurm here."""
    mains = {job_id.partition("_")[0] for job_id in ids if job_id}
    if not mains or shutil.which("squeue") is None:
        return {}
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T"]
    command.append(f"--jobs={','.join(sorted(mains))}")
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    if shown.returncode and "Invalid job id" not in shown.stderr:  # no job is left in the queue
        raise UserError(f"squeue failed: {shown.stderr.strip()}; try again when Slurm runs")
    return dict(line.split("|", 1) for line in shown.stdout.split())


def _names(folder: Path) -> frozenset[str]:
    if not folder.is_dir():
        return frozenset()
    with os.scandir(folder) as entries:
        return frozenset(entry.name for entry in entries)


def _is_alive(job_id: str) -> bool:
    return (Path("/proc") / job_id).exists()
