"""ADNet: one foreground prototype and a learned threshold; a pixel too far from the prototype is background.

Hansen et al., "Anomaly detection-inspired few-shot medical image segmentation through self-supervision with
supervoxels", Medical Image Analysis 78, 2022, arXiv 2203.02048. The foreground is the masked average of its
support features; a query pixel's anomaly score is S = -alpha * cosine with it, and its probability of being
foreground is 1 - sigmoid(kappa * (S - t)), where the scalar t is learned with the encoder. The background has
no prototype. The loss contains t / alpha, which keeps the foreground tight.

Behaviour is that of the released program (sha168/ADNet), and its checkpoints load. Rules ADNET-1 to ADNET-7
of docs/methods.md define it. Defects of the release, each with the option that corrects it:
- The release upsamples features to the mask without aligned corners, and probabilities to the image with
  them. The two disagree by up to half a cell, which moves 4 to 6 % of the pixels: `align_corners=false`.
- It trains on an episode whose support mask an augmentation has emptied: the prototype is 0, S is 0, and the
  loss raises t without reason: `skip_empty_support=true`.
- The query's loss weighs the classes by (0.1, 1), the alignment loss does not weigh them (no option).
- The shear of the augmentation moves the slice sideways: `augmentation=centred`.
- A pair of slices may skip slices that do not show the supervoxel, and only the lower slice must show 200
  pixels: `episode=supervoxel-run` takes adjacent slices (episodes/sampling/supervoxel.py).

Different here: a seed repeats the noise of the elastic field, which the release takes from the operating
system.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fewshot.base.errors import UserError
from fewshot.base.precision import in_float32
from fewshot.learners.anomaly import (
    CLASS_WEIGHTS,
    alignment_loss,
    anomaly_scores,
    is_trained_on,
    log_probabilities,
    mean_prototype,
    pooled_prototype,
    probabilities,
    query_loss,
)
from fewshot.learners.learner import PrototypeLearner
from fewshot.learners.logits import Branch
from fewshot.learners.prototypes import resize_maps
from fewshot.learners.recipe import Recipe


class ADNet(PrototypeLearner):
    """The anomaly detection-inspired network on any encoder with one feature map."""

    version: ClassVar[int] = 2
    class_weights = CLASS_WEIGHTS
    loss_parts = ("query", "alignment", "threshold")

    @dataclass(frozen=True)
    class Options:
        """The released constants and the corrections of the release's defects."""

        alpha: float = 20.0  # multiplies the cosine
        kappa: float = 0.5  # steepness of the sigmoid at the threshold
        initial_threshold: float = -10.0  # t before training
        align_corners: bool = True  # in the resizing of probabilities; false: no aligned corners anywhere
        skip_empty_support: bool = False  # true: training skips an episode without a support pixel

        def __post_init__(self) -> None:
            for name in ("alpha", "kappa"):
                if not getattr(self, name) > 0:
                    raise UserError(f"option {name} is {getattr(self, name)}; give a number above 0")

    options: Options

    def __init__(self, encoder: nn.Module, options: Options | None = None) -> None:
        super().__init__(encoder, options)
        self.t = nn.Parameter(torch.tensor([float(self.options.initial_threshold)]))  # the released name

    def logits(
        self, support_features: Tensor, support_masks: Tensor, query_features: Tensor, *,
        prepared: Mapping[str, Tensor], branch: Branch,
    ) -> Tensor:  # fmt: skip
        """Return log-probabilities (Q,2,H,W) of background and foreground, at the size of the masks.

        Features (S,C,h,w) and (Q,C,h,w); masks (S,H,W), or (S,h,w) in the alignment branch. Always defined:
        an empty mask gives the zero prototype, S = 0 and P = sigmoid(kappa * t) everywhere.
        """
        prototype_of = mean_prototype if branch == "query" else pooled_prototype
        foreground = self._foreground(prototype_of(support_features, support_masks), query_features)
        return log_probabilities(self._resize(foreground, support_masks))

    def _foreground(self, prototype: Tensor, query: Tensor) -> Tensor:
        """Return the foreground's probability (Q,h,w) from query features (Q,C,h,w) and a prototype (1,C)."""
        scores = anomaly_scores(prototype, query, self.options.alpha)
        return probabilities(scores, self.t, self.options.kappa)

    def _resize(self, values: Tensor, masks: Tensor) -> Tensor:
        size = (masks.shape[-2], masks.shape[-1])
        return resize_maps(values, size, self.options.align_corners)

    def episode_loss(
        self, support: Any, support_masks: Tensor, query: Any, query_masks: Tensor, prepared: Any
    ) -> tuple[Tensor, Tensor]:
        """Return (query loss, alignment loss, t / alpha) as (3,), and whether training uses the episode.

        The hard mask of the alignment branch has the size h x w, before any resizing (ADNET-5).
        """
        with in_float32(support_masks.device):
            support, query = support.float(), query.float()
            foreground = self._foreground(mean_prototype(support, support_masks), query)
            predicted = foreground > 0.5
            back = self._foreground(pooled_prototype(query, predicted), support)
            parts = [
                query_loss(log_probabilities(self._resize(foreground, query_masks)), query_masks),
                alignment_loss(
                    log_probabilities(self._resize(back, support_masks)), support_masks, predicted
                ),
                self.t.sum() / self.options.alpha,
            ]
        return torch.stack(parts), is_trained_on(support_masks, self.options.skip_empty_support)

    @classmethod
    def recipe(cls) -> Recipe:
        """Return the released training."""
        return Recipe(steps=50_000, decay=0.95, weights="imagenet", episode="supervoxel")
