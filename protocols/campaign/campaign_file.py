"""Submitted campaigns on disk: WORK/jobs/NAME/campaign.json holds cells, jobs and their ids in the engine.

It imports no torch, so that the status of thousands of cells is printed at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot.base.errors import UserError
from fewshot.files.atomic_io import atomic_write
from fewshot.files.names import path_in

if TYPE_CHECKING:
    from protocols.campaign.jobs import Job
    from protocols.campaign.units import CellName, Unit

FILE = "campaign.json"
FOLDER = "jobs"  # under WORK


def new_campaign(work: Path, name: str | None) -> Path:
    """Make and return the folder of a campaign: WORK/jobs/NAME, by default the next number.

    Raises `UserError` if the name is taken.
    """
    if name is not None:
        folder = path_in(work / FOLDER, "campaign", name)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            raise UserError(f"--name {name}: {folder} exists; give another name") from None
        return folder
    number = 1
    while True:
        folder = work / FOLDER / f"{number:03d}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return folder


class CampaignFile:
    """The file of one campaign while it is submitted."""

    def __init__(self, folder: Path, engine: str, units: Sequence[Unit], jobs: Sequence[Job]) -> None:
        """Describe a campaign; `engine`: "slurm" or "local". Nothing is written yet."""
        job_of = {cell: job.number for job in jobs for cell in job.cells}
        self._path = folder / FILE
        self._content: dict[str, Any] = {
            "engine": engine,
            "cells": [
                _cell_json(cell, job_of.get(cell))
                for unit in units
                for cell in (*unit.recorded, *unit.missing)
            ],
            "jobs": [
                {"label": job.label, "line": job.line, "after": job.after, "id": None, "state": None}
                for job in jobs
            ],
        }

    def note(self, number: int, job_id: str, state: str | None = None) -> None:
        """Note the id of a job in the engine, and its state where the engine keeps none."""
        self._content["jobs"][number] |= {"id": job_id or None, "state": state}

    def write(self) -> None:
        """Write the file."""
        with atomic_write(self._path) as stream:
            json.dump(self._content, stream, allow_nan=False)


def campaigns(work: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield folder and content of every submitted campaign, by name."""
    for path in sorted((work / FOLDER).glob(f"*/{FILE}")):
        try:
            yield path.parent, json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{path} cannot be read ({error}); delete its folder and submit again") from None


def _cell_json(cell: CellName, job: int | None) -> list[Any]:
    """Return a cell as a list, which is shorter than keys and values by the thousand."""
    row = [cell.method, cell.dataset, cell.protocol, cell.setting, cell.seed, cell.fold, cell.group]
    return [*row, cell.key, job]
