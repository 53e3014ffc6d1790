"""ADNet: one foreground prototype and a learned threshold; whatever is too far from it is background.

Hansen et al., "Anomaly detection-inspired few-shot medical image segmentation through self-supervision with
supervoxels", Medical Image Analysis 78, 2022, arXiv 2203.02048. The foreground is the masked average of its
support features; a query pixel's anomaly score is S = -alpha * cosine with it, and its probability of being
foreground is 1 - sigmoid(kappa * (S - T)), where the scalar T is learnt with the encoder. The background is
never described. T / alpha is added to the loss, which keeps the foreground tight.

As published: alpha 20, kappa 0.5, T from -10 on; ResNet-101 from ImageNet, supervoxel episodes, 50,000 steps
of SGD, x0.98 every 1,000, weight decay on T as on every weight; class weights (0.1, 1) of the query's
cross-entropy; the mean prototype of several shots; an empty prediction teaches nothing in the alignment
branch. Different here: the mask is resized to the features, where the paper resizes features to the mask,
so a very small mask can be lost (such an episode is undefined: skipped and counted); the logit,
kappa * (T - S), is resized to the image, where the paper resizes the probability; the alignment loss is the
contract's, whose cross-entropy has no class weights; both slices of an episode are transformed, where the
paper transforms one. How supervoxels are made is told in `episodes/pseudo_labels/supervoxels.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from fewshot.base.errors import UserError
from fewshot.base.types import Episode
from fewshot.learners.learner import Branch, LossResult, PrototypeLearner, Recipe
from fewshot.learners.prototypes import masked_average, resize_masks, similarities


class ADNet(PrototypeLearner):
    """The anomaly detection-inspired network on any encoder with one feature map."""

    version: ClassVar[int] = 1

    class_weights = (0.1, 1.0)

    @dataclass(frozen=True)
    class Options:
        """The paper's constants."""

        alpha: float = 20.0  # multiplies the cosine
        kappa: float = 0.5  # how steep the probability is about the threshold
        initial_threshold: float = -10.0  # T before training

        def __post_init__(self) -> None:
            for name in ("alpha", "kappa"):
                if not getattr(self, name) > 0:
                    raise UserError(f"option {name} is {getattr(self, name)}; give a number above 0")

    options: Options

    def __init__(self, encoder: nn.Module, options: Options | None = None) -> None:
        super().__init__(encoder, options)
        self.threshold = nn.Parameter(torch.tensor(float(self.options.initial_threshold)))

    def logits(
        self, support_features: Tensor, support_masks: Tensor, query_features: Tensor, *,
        prepared: Mapping[str, Tensor], branch: Branch,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return scores (Q,2,h,w) and `defined`: 0 for the background, kappa * (T - S) for the foreground.

        The sigmoid of their difference is the paper's probability. Not defined: the support's foreground is
        empty once resized to h x w; S is then 0. In the alignment branch an empty foreground, a prediction
        of background alone, is defined, lest the episodes that a model fails at be skipped: its scores are
        the same numbers, without gradient.
        """
        size = (support_features.shape[-2], support_features.shape[-1])
        masks = resize_masks(support_masks, size)
        shown = masks.any()
        prototype = masked_average(support_features, masks).mean(dim=0, keepdim=True)
        anomaly = -similarities(prototype, query_features, self.options.alpha)
        foreground = self.options.kappa * (self.threshold - anomaly)
        if branch == "alignment":
            foreground = torch.where(shown, foreground, foreground.detach())
            shown = torch.ones_like(shown)
        return torch.cat([torch.zeros_like(foreground), foreground], dim=1), shown

    def loss(self, episode: Episode) -> LossResult:
        """Return the contract's loss plus T / alpha, a part of its own named threshold."""
        result = super().loss(episode)
        threshold = torch.where(result.defined, self.threshold / self.options.alpha, 0.0)
        parts = {**result.parts, "threshold": threshold}
        return replace(result, total=result.total + threshold, parts=parts)

    @classmethod
    def recipe(cls) -> Recipe:
        """Return the published training."""
        return Recipe(steps=50_000, decay=0.98, weights="imagenet", episode="supervoxel")
