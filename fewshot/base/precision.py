"""The precisions that a network runs in, by name; weights, comparison of features and losses stay float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from fewshot.base.errors import unknown_name

PRECISIONS = ("float32", "bf16")


def check_precision(name: str) -> str:
    """Return `name` if it is a precision; `UserError` with the near names where it is none."""
    if name not in PRECISIONS:
        raise unknown_name("precision", name, PRECISIONS)
    return name


def autocast_to(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Run what is inside in `precision` on `device`: bf16 by autocast, float32 as it is written."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def in_float32(device: torch.device) -> AbstractContextManager[object]:
    """Turn autocast off for what is inside, on a device that has it."""
    has = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if has else nullcontext()
