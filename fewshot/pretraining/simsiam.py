"""SimSiam over the maps of an encoder of picture and sentence: stage 1 of MPTPN.

Chen & He, "Exploring Simple Siamese Representation Learning", CVPR 2021, arXiv 2011.10566, as the released
MPTPN changes it: a predictor for each of three scales, no projector and no BatchNorm in the heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.base.errors import UserError
from fewshot.base.seeds import seed_for
from fewshot.learners.learner import LossResult
from fewshot.learners.options import PATH
from fewshot.pretraining.positive_matches import ViewPair

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the views


@dataclass(frozen=True)
class SimSiamRecipe:
    """The published recipe; every number is an option.

    `batch`: pictures a step. `variant`: published casts the normalised views to bytes, as the release does;
    corrected passes them in [0,1], as stage 2 does. `text`, `text_file`: as the options of MPTPN.
    """

    epochs: int = 5
    batch: int = 1
    learning_rate: float = 0.003125
    momentum: float = 0.9
    weight_decay: float = 1e-4
    variant: Literal["published", "corrected"] = "corrected"
    text: Literal["hash", "cached", "bert"] = "hash"
    text_file: str = field(default="", metadata=PATH)

    def __post_init__(self) -> None:
        """Raise `UserError` for a number that no training can have."""
        if self.epochs < 1 or self.batch < 1:
            raise UserError(f"epochs {self.epochs} and batch {self.batch}: expected 1 or more")
        if self.learning_rate <= 0 or min(self.momentum, self.weight_decay) < 0:
            raise UserError(
                f"learning_rate {self.learning_rate}, momentum {self.momentum}, weight_decay "
                f"{self.weight_decay}: expected a rate above 0, and 0 or more"
            )


SIMSIAM_RECIPES = {
    "published": SimSiamRecipe(),
    "small": SimSiamRecipe(epochs=10, batch=8, learning_rate=0.025),
}


@dataclass(frozen=True)
class CosineByEpoch:
    """SGD with a learning rate that falls to 0 on a half cosine, updated every epoch."""

    steps: int
    epoch: int  # steps of an epoch
    learning_rate: float
    momentum: float
    weight_decay: float
    snapshot_every: int = 0

    def rate_after(self, moves: int) -> float:
        """Return the learning rate after `moves` optimiser steps."""
        done = moves // self.epoch * self.epoch / self.steps
        return self.learning_rate * (1 + math.cos(math.pi * done)) / 2


class SimSiam(nn.Module):
    """An encoder and a predictor for each of its maps.

    Args:
        encoder: pictures (N,3,S,S) and words (N,L,D) -> maps of several scales.
        widths: channels of each map.
        words: numbers of pictures -> vectors of their sentences (N,L,D).
        variant: as in `SimSiamRecipe`.
        seed: of the predictors.
    """

    def __init__(
        self, encoder: nn.Module, widths: Sequence[int], words: Callable[[Sequence[int]], Tensor],
        variant: str, seed: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.encoder = encoder
        self._words, self._variant = words, variant
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for("simsiam-heads", seed))
            self.predictors = nn.ModuleList(
                nn.Sequential(nn.Linear(c, c, bias=False), nn.LeakyReLU(0.01), nn.Linear(c, c))
                for c in widths
            )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group of all parameters."""
        return [{"params": list(self.parameters()), "rate": 1.0}]

    def loss(self, pair: ViewPair) -> LossResult:
        """Return minus the mean cosine of each view's prediction and the other view, over scales.

        Part `spread`: the mean deviation of the normalised features over the batch times the root of their
        number; near 0 the features have collapsed. It is 0 for a batch of one.
        """
        words = self._words(pair.pictures).to(pair.views.device)
        first, second = (self._pooled(pair.views[:, view], words) for view in (0, 1))
        total = contrast_loss(first, second, list(self.predictors))
        with torch.no_grad():
            unit = F.normalize(first[-1], dim=1)
            spread = unit.std(dim=0, unbiased=False).mean() * unit.shape[1] ** 0.5
        defined = torch.ones((), dtype=torch.bool, device=total.device)
        return LossResult(total, {"spread": spread}, defined, (~defined).sum())

    def _pooled(self, views: Tensor, words: Tensor) -> list[Tensor]:
        """Return the means over each map of views (N,3,S,S), (N,C) for each scale."""
        pictures = as_bytes(views) if self._variant == "published" else in_unit_range(views)
        return [one.mean(dim=(2, 3)) for one in self.encoder(pictures, words)]


def in_unit_range(views: Tensor) -> Tensor:
    """Return normalised views (N,3,S,S) as pictures in [0,1]."""
    mean, std = (torch.tensor(values, device=views.device).view(3, 1, 1) for values in (MEAN, STD))
    return (views * std + mean).clamp(0, 1)


def as_bytes(views: Tensor) -> Tensor:
    """Return normalised views cast to bytes and back, as published: -1.5 becomes 255, 2.4 becomes 2."""
    return views.to(torch.int64).remainder(256).to(views.dtype)


def contrast_loss(first: Sequence[Tensor], second: Sequence[Tensor], heads: Sequence[nn.Module]) -> Tensor:
    """Return minus the mean over scales and directions of cos(other view, prediction), 0-dim.

    first, second: (N,C) of each scale; no gradient flows through the other view.
    """
    terms = [
        F.cosine_similarity(there.detach(), head(here), dim=1).mean()
        for one, other, head in zip(first, second, heads, strict=True)
        for here, there in ((one, other), (other, one))
    ]
    return -torch.stack(terms).mean()
