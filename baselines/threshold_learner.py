"""Base of RPT and GMRD: Q-Net's encoder with one map, its class weights, and a loss of weighted parts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from baselines.threshold_encoder import threshold_encoder
from fewshot.base.types import Episode
from fewshot.learners.learner import LossResult, PrototypeLearner


class ThresholdLearner(PrototypeLearner):
    """A prototype learner on an encoder of one fine map and a threshold for every slice."""

    class_weights = (0.1, 1.0)

    @classmethod
    def new_encoder(cls, name: str, seed: int) -> nn.Module:
        """Return the encoder of this name with a map of stride 4 and a threshold for every slice."""
        return threshold_encoder(name, seed)

    @abstractmethod
    def part_weights(self) -> Mapping[str, float]:
        """Return the weight of each part that the loss of this variant has, by its name in `loss_parts`."""

    def loss(self, episode: Episode) -> LossResult:
        """Return the sum of the parts, each with its weight of `part_weights`; `parts` have no weight."""
        result = super().loss(episode)
        weights = self.part_weights()
        parts = {name: result.parts[name] for name in weights}
        total = torch.stack([weight * parts[name] for name, weight in weights.items()]).sum()
        return replace(result, total=total, parts=parts)

    def hard_mask(self, prediction: Tensor) -> Tensor:
        """Return the hard masks (N,H,W) bool of a prediction, the support of the alignment loss."""
        return prediction > 0.5
