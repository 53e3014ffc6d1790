"""PANet: one prototype per class; in training the query's prediction must also segment the support.

Wang et al., "PANet: Few-Shot Image Semantic Segmentation with Prototype Alignment", ICCV 2019, arXiv
1908.06391. A class (the background too) is the masked average of its support features, averaged over
shots; a query pixel scores scale * cosine with each. The alignment loss is the contract's default.

The idea is the paper's and the setting is this field's, so its results compare ideas and reproduce no
published number. The paper has VGG-16 on natural images of 417 x 417 pixels, 30,000 steps on annotated
classes with a factor of 0.1 every 10,000, unweighted cross-entropy and support features resized to the mask;
a class absent from the prediction has no alignment loss. This file has the encoder, superpixel episodes,
recipe and class weights (0.05, 1) of SSL-ALPNet and masks resized to the features; training skips an episode
with such a prediction, as the contract says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fewshot.base.errors import UserError
from fewshot.learners.learner import PrototypeLearner
from fewshot.learners.logits import Branch
from fewshot.learners.prototypes import masked_average, resize_masks, similarities


class PANet(PrototypeLearner):
    """The prototype alignment network on any encoder with one feature map."""

    version: ClassVar[int] = 1

    @dataclass(frozen=True)
    class Options:
        """The paper's constant."""

        scale: float = 20.0  # multiplies the cosine

        def __post_init__(self) -> None:
            if self.scale <= 0:
                raise UserError(f"option scale is {self.scale}; give a number above 0")

    options: Options

    def logits(
        self, support_features: Tensor, support_masks: Tensor, query_features: Tensor, *,
        prepared: Mapping[str, Tensor], branch: Branch,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return scores (Q,2,h,w), background first, and `defined`.

        `defined` is False if foreground or background is empty at h x w; its score is then 0.
        """
        size = (support_features.shape[-2], support_features.shape[-1])
        masks = [resize_masks(mask, size) for mask in (~support_masks, support_masks)]
        prototypes = torch.stack([masked_average(support_features, mask).mean(dim=0) for mask in masks])
        defined = torch.stack([mask.any() for mask in masks]).all()
        return similarities(prototypes, query_features, self.options.scale), defined
