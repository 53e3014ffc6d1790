"""k prototypes per class: the support's features of a class, clustered by k-means.

The part-aware prototypes of Liu et al., "Part-aware Prototype Network for Few-shot Semantic
Segmentation" (PPNet), ECCV 2020, arXiv 2007.06309: five clusters a class, ten iterations, and a query
pixel scores scale * its largest cosine with the class's prototypes. (Yang et al., "Prototype Mixture
Models for Few-shot Semantic Segmentation", ECCV 2020, arXiv 2008.03898, fit the same idea by
expectation maximisation.)

Left out of PPNet: the global prototype added to every part, the graph network, unlabelled images and the
semantic branch. Also different: directions (unit vectors) are clustered, since scores compare directions;
features keep their grid; encoder, superpixel episodes, recipe and loss are those of SSL-ALPNet.

Training: faiss says which cluster a position belongs to, and that choice has no gradient; a prototype is
the mean of its positions' features and carries gradient to each of them. Cost: faiss runs on the host, so
each call copies the support's features there (1 MB for a 32 x 32 x 256 map) and waits for the device,
in training four times an episode; clustering 1024 positions takes some 2 ms of one core.
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
from fewshot.learners.learner import Branch, PrototypeLearner
from fewshot.learners.nearest import k_means
from fewshot.learners.prototypes import NORM_FLOOR, masked_average, resize_masks, similarities

SEED = seed_for("k-means", "first centres")  # fixed: the same support gives the same clusters always


class KMeansPrototypes(PrototypeLearner):
    """k-means prototypes on any encoder with one feature map."""

    version: ClassVar[int] = 1

    support_order_matters = True  # first centres are drawn by position

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

        All shots are clustered together. First centres are drawn by position, so with several shots
        their order may matter. Not defined: foreground or background is empty once resized to h x w;
        its score is then 0.
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
        """Return k + 1 prototypes (k+1,C) of a class, and which count, (k+1,) bool; at least one does.

        Features (S,C,h,w), the class's share of each position (S,h,w). A position of which the class
        has more than half is a point. Of n < k points each is its own cluster. Without any, as for an
        organ smaller than a position, the masked average by share, last in the rows, stands alone.
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
