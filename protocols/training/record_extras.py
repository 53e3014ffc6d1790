"""Record extras: facts of a training that its key leaves out, in one JSON file beside the model.

`trained_on` lists the machines of a training; the other fields describe its stages.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fewshot.base.errors import UserError
from fewshot.files.seals import read_sealed, write_sealed
from protocols.environment import machine

FILE = "record_extras.json"


def read_record_extras(folder: Path) -> dict[str, Any]:
    """Return the extras of the model in `folder`; empty if the file is missing; `UserError` if edited."""
    path = folder / FILE
    remedy = "restore it, or delete its folder to train again"
    extras = read_sealed(path, remedy) if path.is_file() else {}
    if not isinstance(extras.get("trained_on", []), list):
        raise UserError(f"{path} holds no record extras; {remedy}")
    return extras


def save_record_extras(folder: Path, extras: Mapping[str, Any]) -> None:
    """Save `extras` beside the model; they replace earlier extras of the same names."""
    before = read_record_extras(folder)
    after = before | dict(extras)
    if after != before:
        write_sealed(folder / FILE, after)


def add_machine(folder: Path, device: torch.device) -> None:
    """Add this machine to the `trained_on` of the training in `folder`, without duplicates."""
    machines = list(read_record_extras(folder).get("trained_on", []))
    save_record_extras(folder, {"trained_on": merge_machines(machines, [machine(device)])})


def merge_machines(*lists: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the machines of all lists in order, without duplicates."""
    merged: list[dict[str, Any]] = []
    for machines in lists:
        merged += [entry for entry in machines if entry not in merged]
    return merged
