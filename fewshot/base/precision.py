"""Named precisions of a network's forward pass; weights, feature comparison and losses stay float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from fewshot.base.errors import unknown_name

PRECISIONS = ("float32", "bf16")


def check_precision(name: str) -> str:
    """Return `name` if it is a known precision, else raise `UserError` with similar names."""
    if name not in PRECISIONS:
        raise unknown_name("precision", name, PRECISIONS)
    return name


def autocast_to(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return a context that runs its block in `precision` on `device`: bf16 uses autocast."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def in_float32(device: torch.device) -> AbstractContextManager[object]:
    """Return a context that turns autocast off in its block, on a device that supports autocast."""
    has_autocast = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if has_autocast else nullcontext()
