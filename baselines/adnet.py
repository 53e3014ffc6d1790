"""ADNet: one foreground prototype and a learned threshold; whatever is too far from it is background.

Hansen et al., "Anomaly detection-inspired few-shot medical image segmentation through self-supervision with
supervoxels", Medical Image Analysis 78, 2022, arXiv 2203.02048. The foreground is the masked average of its
support features; a query pixel's anomaly score is S = -alpha * cosine with it, and its probability of being
foreground is 1 - sigmoid(kappa * (S - t)), where the scalar t is learned with the encoder. The background is
never described. t / alpha is added to the loss, which keeps the foreground tight.

Behaviour is that of the released program (sha168/ADNet), and its checkpoints load. `docs/methods.md`, rules
ADNET-1 to ADNET-7, says it exactly. What was found in the release, each with the option that mends it:
- Features are upsampled to the mask without aligned corners, probabilities to the image with them. The two
  disagree by up to half a cell, which moves 4 to 6 % of the pixels: `align_corners=false`.
- An empty support mask, as an augmentation may leave it, is learned from: the prototype is 0, S is 0, and
  the loss raises t without reason: `skip_empty_support=true`.
- The weights of the query's loss, (0.1, 1), are not those of the alignment loss, which has none.
- The shear of the augmentation moves the slice sideways: `augmentation=centred`.
- A pair of slices may jump over slices that do not show the supervoxel, and only the lower slice must show
  200 pixels: `episode=supervoxel-run` takes adjacent slices (episodes/sampling/supervoxel.py).
- The noise of its elastic field comes from the operating system, so no seed repeats it; here a seed does.
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
    counted,
    log_probabilities,
    mean_prototype,
    pooled_prototype,
    probabilities,
    query_loss,
    resize_probabilities,
)
from fewshot.learners.learner import Branch, PrototypeLearner, Recipe


class ADNet(PrototypeLearner):
    """The anomaly detection-inspired network on any encoder with one feature map."""

    version: ClassVar[int] = 2
    class_weights = CLASS_WEIGHTS
    loss_parts = ("query", "alignment", "threshold")

    @dataclass(frozen=True)
    class Options:
        """The released constants, and what the release has that one may want otherwise."""

        alpha: float = 20.0  # multiplies the cosine
        kappa: float = 0.5  # how steep the probability is about the threshold
        initial_threshold: float = -10.0  # t before training
        align_corners: bool = True  # of the resizing of probabilities; false: as of everything else
        skip_empty_support: bool = False  # true: a training episode without support pixel is skipped

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
        found = self._foreground(prototype_of(support_features, support_masks), query_features)
        return log_probabilities(self._resized(found, support_masks))

    def _foreground(self, prototype: Tensor, query: Tensor) -> Tensor:
        """Return P (Q,h,w) of query features (Q,C,h,w) by one prototype (1,C)."""
        scores = anomaly_scores(prototype, query, self.options.alpha)
        return probabilities(scores, self.t, self.options.kappa)

    def _resized(self, values: Tensor, masks: Tensor) -> Tensor:
        size = (masks.shape[-2], masks.shape[-1])
        return resize_probabilities(values, size, self.options.align_corners)

    def _episode_loss(
        self, support: Any, support_masks: Tensor, query: Any, query_masks: Tensor, prepared: Any
    ) -> tuple[Tensor, Tensor]:
        """Return (query loss, alignment loss, t / alpha) as (3,), and whether the episode counts.

        The hard mask of the alignment branch is taken at h x w, before anything is resized (ADNET-5).
        """
        with in_float32(support_masks.device):
            support, query = support.float(), query.float()
            found = self._foreground(mean_prototype(support, support_masks), query)
            predicted = found > 0.5
            back = self._foreground(pooled_prototype(query, predicted), support)
            parts = [
                query_loss(log_probabilities(self._resized(found, query_masks)), query_masks),
                alignment_loss(
                    log_probabilities(self._resized(back, support_masks)), support_masks, predicted
                ),
                self.t.sum() / self.options.alpha,
            ]
        return torch.stack(parts), counted(support_masks, self.options.skip_empty_support)

    @classmethod
    def recipe(cls) -> Recipe:
        """Return the released training."""
        return Recipe(steps=50_000, decay=0.95, weights="imagenet", episode="supervoxel")
