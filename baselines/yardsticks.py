"""Two yardsticks for every table: the Dice of trivial masks, without encoder or training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fewshot.base.errors import UserError
from fewshot.base.types import Support


@dataclass(frozen=True)
class NoOptions:
    """A yardstick has no options."""


class Yardstick:
    """A learner without options and training."""

    Options = NoOptions
    trainable: ClassVar[bool] = False
    regime: ClassVar[str] = "yardstick"
    labels_used: ClassVar[str] = "none"

    def __init__(self, options: NoOptions | None = None) -> None:
        self.options = NoOptions() if options is None else options


class AllForeground(Yardstick):
    """Predict foreground everywhere; its Dice follows from the class's share of the slice."""

    version: ClassVar[int] = 1

    def segment(self, support: Support, query: Tensor) -> Tensor:
        """Return 1 everywhere: (Q,1,H,W) -> (Q,H,W)."""
        return torch.ones_like(query[:, 0])


class CopySupport(Yardstick):
    """Predict the support mask at the same place; its Dice follows from the organ's usual position.

    With several shots the probability is the share of shots that show the class at the pixel. The mask (>
    0.5) is therefore a strict majority, and a tie is background.
    """

    version: ClassVar[int] = 1

    def segment(self, support: Support, query: Tensor) -> Tensor:
        """Return the mean support mask for every query slice: (Q,1,H,W) -> (Q,H,W)."""
        if support.masks.shape[-2:] != query.shape[-2:]:
            raise UserError(
                f"copy-support: support masks of {tuple(support.masks.shape[-2:])} for query slices of "
                f"{tuple(query.shape[-2:])}; support and query must have the same size"
            )
        return support.masks.float().mean(dim=0).expand(len(query), -1, -1)
