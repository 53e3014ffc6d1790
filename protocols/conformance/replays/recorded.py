"""Recorded dropout masks in place of a learner's random ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class RecordedDropout(nn.Module):
    """Dropout with recorded masks of broadcastable shapes: call i multiplies by mask i / (1 - share)."""

    def __init__(self, masks: Iterable[Tensor], share: float) -> None:
        super().__init__()
        self._masks = iter(masks)
        self._factor = 1 / (1 - share)

    def forward(self, values: Tensor) -> Tensor:
        """Return the values times the next mask, scaled by 1 / (1 - share)."""
        return values * (next(self._masks) * self._factor)


def unpack_bits(bits: NDArray[np.uint8], shape: Sequence[int]) -> Tensor:
    """Return the boolean array of this shape behind the result of `numpy.packbits`, as float32."""
    flat = np.unpackbits(bits, count=math.prod(shape))
    return torch.from_numpy(flat.reshape(tuple(shape)).astype(np.float32))


def replace_dropouts(learner: Any, replacements: Mapping[str, nn.Module]) -> None:
    """Replace modules of the learner; `replacements`: name in the learner -> new module."""
    for name, module in replacements.items():
        parent, _, child = name.rpartition(".")
        learner.get_submodule(parent).register_module(child, module)


def without_dropout(learner: nn.Module) -> None:
    """Set the share of every dropout to 0."""
    for module in learner.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
