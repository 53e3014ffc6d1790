"""Recorded random numbers put in place of a learner's own: dropout masks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class RecordedDropout(nn.Module):
    """Dropout whose masks are given, in shapes that broadcast: call i multiplies by mask i over 1 - p."""

    def __init__(self, masks: Iterable[Tensor], share: float) -> None:
        super().__init__()
        self._masks = iter(masks)
        self._factor = 1 / (1 - share)

    def forward(self, values: Tensor) -> Tensor:
        """Return the values kept by the next mask, scaled up; 0 elsewhere."""
        return values * (next(self._masks) * self._factor)


def unpacked(bits: NDArray[np.uint8], shape: Sequence[int]) -> Tensor:
    """Return what `numpy.packbits` made of a boolean array of this shape, float32."""
    flat = np.unpackbits(bits, count=math.prod(shape))
    return torch.from_numpy(flat.reshape(tuple(shape)).astype(np.float32))


def replace_dropouts(learner: Any, replacements: Mapping[str, nn.Module]) -> None:
    """Put modules in place of others, by their names in the learner."""
    for name, module in replacements.items():
        parent, _, child = name.rpartition(".")
        learner.get_submodule(parent).register_module(child, module)


def without_dropout(learner: nn.Module) -> None:
    """Set the share of every dropout to 0."""
    for module in learner.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
