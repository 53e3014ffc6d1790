"""What records say of a model and its key does not depend on, kept beside the model for later records.

`trained_on` lists the machines of a training; the rest is what its stages counted. One JSON file in the
model's folder holds all of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fewshot.base.atomic_io import write_json
from protocols.environment import machine

FILE = "record_extras.json"


def read_record_extras(folder: Path) -> dict[str, Any]:
    """Return what is kept beside the model in `folder`; nothing where no file is there."""
    path = folder / FILE
    extras: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return extras


def save_record_extras(folder: Path, extras: Mapping[str, Any]) -> None:
    """Keep `extras` beside the model, over what was kept under the same names."""
    before = read_record_extras(folder)
    after = before | dict(extras)
    if after != before:
        write_json(folder / FILE, after)


def add_machine(folder: Path, device: torch.device) -> None:
    """Note that a training in `folder` ran on this machine; an equal machine stands there once."""
    machines = list(read_record_extras(folder).get("trained_on", []))
    save_record_extras(folder, {"trained_on": merge_machines(machines, [machine(device)])})


def merge_machines(*lists: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return all machines of some lists in order, each once."""
    merged: list[dict[str, Any]] = []
    for machines in lists:
        merged += [one for one in machines if one not in merged]
    return merged
