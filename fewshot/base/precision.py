"""Named precisions of a network's forward pass; weights, feature comparison and losses stay float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from fewshot.base.errors import unknown_name

PRECISIONS = ("float32", "bf16")
# a constant, because torch 2.11 cannot compile a step that calls `is_autocast_available`
AUTOCAST = frozenset(kind for kind in ("cpu", "cuda", "mps", "xpu") if torch.amp.is_autocast_available(kind))


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
    return torch.autocast(device.type, enabled=False) if device.type in AUTOCAST else nullcontext()
