"""k prototypes per class: k-means clusters of the support's features of a class.

The part-aware prototypes of Liu et al., "Part-aware Prototype Network for Few-shot Semantic
Segmentation" (PPNet), ECCV 2020, arXiv 2007.06309: five clusters a class, ten iterations, and a query
pixel scores scale * its largest cosine with the class's prototypes. (Yang et al., "Prototype Mixture
Models for Few-shot Semantic Segmentation", ECCV 2020, arXiv 2008.03898, fit the same idea by
expectation maximisation.)

This version lacks PPNet's global prototype in every part, graph network, unlabelled images and semantic
branch. Also different: it clusters directions (unit vectors), since scores compare directions; features keep
their grid; encoder, superpixel episodes, recipe and loss are those of SSL-ALPNet.

Training: faiss assigns each position to a cluster, without gradient. A prototype is the mean of its
positions' features and has a gradient to each of them. Cost: faiss runs on the host, so each call copies the
support's features there (1 MB for a 32 x 32 x 256 map) and waits for the device, four times per episode in
training. Clustering 1024 positions takes some 2 ms of one core.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.base.errors import UserError
from fewshot.base.seeds import seed_for
from fewshot.learners.learner import PrototypeLearner
from fewshot.learners.logits import Branch
from fewshot.learners.nearest import k_means
from fewshot.learners.prototypes import NORM_FLOOR, masked_average, resize_masks, similarities

SEED = seed_for("k-means", "first centres")  # fixed: equal supports give equal clusters


class KMeansPrototypes(PrototypeLearner):
    """k-means prototypes on any encoder with one feature map."""

    version: ClassVar[int] = 1

    support_order_matters = True  # the draw of first centres depends on the positions' order

    @dataclass(frozen=True)
    class Options:
        """PPNet's constants."""

        k_foreground: int = 5
        k_background: int = 5
        iterations: int = 10
        scale: float = 20.0  # multiplies the cosine

        def __post_init__(self) -> None:
            for name in ("k_foreground", "k_background", "iterations"):
                if getattr(self, name) < 1:
                    raise UserError(f"option {name} is {getattr(self, name)}; give a whole number from 1 on")
            if self.scale <= 0:
                raise UserError(f"option scale is {self.scale}; give a number above 0")

    options: Options

    def logits(
        self, support_features: Tensor, support_masks: Tensor, query_features: Tensor, *,
        prepared: Mapping[str, Tensor], branch: Branch,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return scores (Q,2,h,w), background first, and `defined`.

        The clusters span all shots. The draw of first centres depends on the order of positions, so the order
        of shots may matter. `defined` is False if foreground or background is empty at h x w; its score is
        then 0.
        """
        size = (support_features.shape[-2], support_features.shape[-1])
        scores, present = [], []
        for masks, k in (
            (~support_masks, self.options.k_background),
            (support_masks, self.options.k_foreground),
        ):
            share = resize_masks(masks, size)
            prototypes, members = self._prototypes(support_features, share, k)
            distances = similarities(prototypes, query_features, self.options.scale)
            scores.append(distances.masked_fill(~members[:, None, None], -torch.inf).amax(dim=1))
            present.append(share.any())
        return torch.stack(scores, dim=1), torch.stack(present).all()

    def _prototypes(self, features: Tensor, share: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return k + 1 prototypes (k+1,C) of a class, and which of them count, (k+1,) bool, at least one.

        A position is a point if the class covers more than half of it. With n < k points each point is a
        cluster. Without a point (an organ smaller than a position) only the last row counts, the average
        weighted by share.

        Args:
            features: (S,C,h,w).
            share: (S,h,w), the class's share of each position.
            k: the number of clusters.
        """
        points = features.permute(0, 2, 3, 1).flatten(0, 2)
        inside = share.flatten() > 0.5
        directions = F.normalize(points.detach()[inside], dim=1, eps=NORM_FLOOR)
        _centres, cluster = k_means(directions, k, iterations=self.options.iterations, seed=SEED)
        assigned = points.new_zeros(len(points), k)
        assigned[inside] = F.one_hot(cluster, k).to(points.dtype)
        sizes = assigned.sum(dim=0)
        means = assigned.T @ points / sizes.clamp(min=1)[:, None]
        average = masked_average(features, share).mean(dim=0, keepdim=True)
        return torch.cat([means, average]), torch.cat([sizes > 0, ~inside.any()[None]])
