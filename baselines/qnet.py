"""Q-Net: anomaly scores at two scales, cut at a threshold and by a prototype that the query informs.

Shen et al., "Q-Net: Query-Informed Few-Shot Medical Image Segmentation", IntelliSys 2023, arXiv 2208.11451.
It extends ADNet (Hansen et al., Medical Image Analysis 2022, arXiv 2203.02048): the background has no
prototype; a query pixel is foreground if its anomaly score S = -20 cos with the only prototype, the
foreground's, is below a threshold T: probability 1 - sigmoid(0.5 (S - T)).

As published: two maps of a ResNet-101 from COCO, layer3's of stride 4 with weight 0.9 and layer4's of stride
8 with weight 0.1; T for each query slice from its own layer4 features, averaged over the slice and taken
through a learnt linear map, for both scales; at test time, and not in training, each map's prototype refined
on each query slice so that the query can be rebuilt from prediction and prototype; cross-entropy weighted
(0.1, 1) in both branches, an alignment loss of 0 where nothing was predicted, and T / 20; the recipe and its
supervoxel episodes (`episodes/sampling/supervoxel.py` says how they differ).

Different here:
- T is linear in layer4's features after their 1x1 convolution; published: through ImageNet's classifier
  first. It starts at ADNet's -10 for every query (weights 0, bias -10), and weight decay acts on it. In the
  alignment branch the support is the query, so T comes from the support there.
- The mask is resized to each map; published: features to the mask. A small organ can so be lost on the
  coarse map. Prototypes are averaged over the shots that show the class at that scale.
- Maps are fused at the finer grid, the coarse log-odds resized to it, and upsampled to the slice as log-odds;
  published: probabilities are upsampled and fused there.
- Refinement: the query is rebuilt as p prototype + (1 - p) background, with p the current soft prediction and
  the background averaged over the query with weights 1 - p; both rebuilt and own features have unit length
  when their squared difference is taken. Published: the prediction cut to 0 or 1, the query's own features
  where it is 0, and another normalisation. As published, p is a constant of a step and taken anew after it,
  and each scale is refined by itself. Of an undefined episode nothing is refined.
There are no reference vectors of the released program: what is called published here has not been replayed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.base.errors import UserError
from fewshot.encoders.encoder import TwoScaleEncoder
from fewshot.learners.learner import Branch, Features, PrototypeLearner, Recipe, resized, scored
from fewshot.learners.prototypes import NORM_FLOOR, masked_average, resize_masks

MOMENTS = (0.9, 0.999)  # Adam's
ADAM_FLOOR = 1e-8


class QNet(PrototypeLearner):
    """The query-informed network on an encoder that gives a fine and a coarse map of `out_channels`."""

    version: ClassVar[int] = 1

    adapts = True
    class_weights = (0.1, 1.0)
    loss_parts = ("query", "alignment", "threshold")

    @dataclass(frozen=True)
    class Options:
        """The paper's constants; steps and rate of the refinement have not been checked against it."""

        alpha: float = 20.0  # multiplies the cosine
        kappa: float = 0.5  # steepness of the sigmoid at the threshold
        initial_threshold: float = -10.0
        fine_weight: float = 0.9  # of the probability at stride 4; the rest is that at stride 8
        refinement_steps: int = 7
        refinement_rate: float = 0.01  # Adam's, in units of the features

        def __post_init__(self) -> None:
            for name in ("alpha", "kappa", "refinement_rate"):
                if getattr(self, name) <= 0:
                    raise UserError(f"option {name} is {getattr(self, name)}; give a number above 0")
            if not 0 < self.fine_weight < 1:
                raise UserError(f"option fine_weight is {self.fine_weight}; give a number between 0 and 1")
            if self.refinement_steps < 0:
                raise UserError(
                    f"option refinement_steps is {self.refinement_steps}; give a whole number from 0 on"
                )

    options: Options

    def __init__(self, encoder: nn.Module, options: Any = None) -> None:
        super().__init__(encoder, options)
        channels = getattr(encoder, "out_channels", None)
        if not isinstance(channels, int):
            raise UserError(
                f"{type(encoder).__name__} has no out_channels, wanted an encoder of two maps that says how "
                "many channels both have; use fewshot.encoder.TwoScaleEncoder"
            )
        self.threshold_weight = nn.Parameter(torch.zeros(channels))
        self.threshold_bias = nn.Parameter(torch.tensor(float(self.options.initial_threshold)))

    @classmethod
    def new_encoder(cls, name: str, seed: int) -> nn.Module:
        """Return the ResNet with maps of stride 4 and 8."""
        return TwoScaleEncoder(name, seed=seed)

    def encode(self, images: Tensor) -> Features:
        """Return the maps (N,C,H/4,W/4) and (N,C,H/8,W/8) of images (N,1,H,W); at test without gradient."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.training):
            return super().encode(images)

    def logits(
        self, support_features: tuple[Tensor, Tensor], support_masks: Tensor,
        query_features: tuple[Tensor, Tensor], *, prepared: Mapping[str, Tensor], branch: Branch,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return log-probabilities (Q,2,h,w) of background and foreground on the fine grid, and `defined`.

        Features are a fine and a coarse map, (S,C,h,w) and (S,C,h/2,w/2). Not defined: the foreground is
        empty once resized to either grid.
        """
        refine = not self.training and branch == "query" and self.options.refinement_steps > 0
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.training):
            thresholds = self.thresholds(query_features)
            odds, defined = [], []
            for support, query in zip(support_features, query_features, strict=True):
                prototype, present = foreground_prototype(support, support_masks)
                prototypes = prototype.expand(len(query), -1)
                if refine:
                    refined = self._refined(prototypes, query, thresholds)
                    prototypes = torch.where(present, refined, prototypes)
                directions = F.normalize(query, dim=1, eps=NORM_FLOOR)
                odds.append(self._odds(_cosines(prototypes, directions), thresholds))
                defined.append(present)
            return _fused(odds[0], odds[1], self.options.fine_weight), torch.stack(defined).all()

    def thresholds(self, query_features: tuple[Tensor, Tensor]) -> Tensor:
        """Return T of each query slice, (Q,) float32, from the average of its coarse map (Q,C,h,w)."""
        pooled = query_features[-1].float().mean(dim=(2, 3))
        return (pooled * self.threshold_weight).sum(dim=1) + self.threshold_bias

    def _odds(self, cosines: Tensor, thresholds: Tensor) -> Tensor:
        """Return log p / (1 - p) = kappa (T - S) for cosines (Q,...) and thresholds (Q,)."""
        cuts = thresholds.reshape(-1, *[1] * (cosines.ndim - 1))
        return self.options.kappa * (cuts + self.options.alpha * cosines)

    def _refined(self, prototypes: Tensor, query: Tensor, thresholds: Tensor) -> Tensor:
        """Return prototypes (Q,C), each after Adam's steps on its own query map (Q,C,h,w); all at once.

        Nothing but the prototypes gets a gradient. The queries share no number, so each goes its own way.
        """
        with torch.inference_mode(False), torch.enable_grad():
            points, cuts, current = _plain(query).flatten(2), _plain(thresholds), _plain(prototypes)
            directions = F.normalize(points, dim=1, eps=NORM_FLOOR)
            first, second = torch.zeros_like(current), torch.zeros_like(current)
            for step in range(1, self.options.refinement_steps + 1):
                current.requires_grad_()
                inside = self._odds(_cosines(current.detach(), directions), cuts).sigmoid()
                loss = reconstruction_loss(current, points, directions, inside)
                (gradient,) = torch.autograd.grad(loss.sum(), current)
                first = MOMENTS[0] * first + (1 - MOMENTS[0]) * gradient
                second = MOMENTS[1] * second + (1 - MOMENTS[1]) * gradient**2
                size = (second / (1 - MOMENTS[1] ** step)).sqrt() + ADAM_FLOOR
                move = self.options.refinement_rate * first / (1 - MOMENTS[0] ** step) / size
                current = current.detach() - move
        return current

    def _episode_loss(
        self, support: Features, support_masks: Tensor, query: Features, query_masks: Tensor, prepared: Any
    ) -> tuple[Tensor, Tensor]:
        """Return (query loss, alignment loss, threshold loss) as (3,), and whether the query is defined.

        An alignment loss that is not defined, because nothing was predicted, is 0: the other parts teach.
        """
        scores, defined = scored(self, support, support_masks, query, prepared, "query")
        weights = scores.new_tensor(self.class_weights)
        query_loss = F.cross_entropy(resized(scores, query_masks), query_masks.long(), weight=weights)
        predicted = scores.argmax(dim=1) == 1
        back, aligned = scored(self, query, predicted, support, {}, "alignment")
        alignment_loss = F.cross_entropy(resized(back, support_masks), support_masks.long(), weight=weights)
        threshold_loss = self.thresholds((query[0], query[1])).mean() / self.options.alpha
        parts = [query_loss, torch.where(aligned, alignment_loss, 0.0), threshold_loss]
        return torch.stack(parts), defined

    @classmethod
    def recipe(cls) -> Recipe:
        """Return the published training; of the 30,000 to 100,000 steps in use, the fewest."""
        return Recipe(steps=30_000, decay=0.98, episode="supervoxel")


def foreground_prototype(features: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (1,C) of the shots' masked averages, and whether there is one, 0-dim bool.

    Features (S,C,h,w), masks (S,H,W). A shot whose mask is empty at h x w is left out; none: zeros.
    """
    shares = resize_masks(masks, (features.shape[-2], features.shape[-1]))
    shown = (shares.sum(dim=(1, 2)) > 0).float()
    total = (masked_average(features, shares) * shown[:, None]).sum(dim=0, keepdim=True)
    return total / shown.sum().clamp(min=1), shown.any()


def reconstruction_loss(prototypes: Tensor, points: Tensor, directions: Tensor, inside: Tensor) -> Tensor:
    """Return how badly prediction, prototype and background explain each query, (Q,) in [0, 4].

    The mean over positions of |r / |r| - f / |f||^2 = 2 - 2 cos(r, f), with f a position's feature and
    r = p prototype + (1 - p) background, the average of f over the query with weights 1 - p. Prototypes
    (Q,C), f as `points` (Q,C,n), f / |f| as `directions` (Q,C,n), p as `inside` (Q,n). Worked out from inner
    products, so that r, as large as the map, is never built.
    """
    outside = 1 - inside
    background = masked_average(points[..., None], outside[..., None])
    along_both = torch.einsum("kqc,qcn->kqn", torch.stack([prototypes, background]), directions)
    along = inside * along_both[0] + outside * along_both[1]
    squares = [(a * b).sum(dim=1)[:, None] for a, b in _pairs(prototypes, background)]
    length = inside**2 * squares[0] + 2 * inside * outside * squares[1] + outside**2 * squares[2]
    return (2 - 2 * along / length.clamp(min=NORM_FLOOR**2).sqrt()).mean(dim=1)


def _pairs(one: Tensor, other: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
    return (one, one), (one, other), (other, other)


def _cosines(prototypes: Tensor, directions: Tensor) -> Tensor:
    """Return the cosine (Q,...) of each query's own prototype (Q,C) and its unit vectors (Q,C,...)."""
    return torch.einsum("qc,qc...->q...", F.normalize(prototypes, dim=1, eps=NORM_FLOOR), directions)


def _fused(fine: Tensor, coarse: Tensor, weight: float) -> Tensor:
    """Return log (1 - p) and log p, (Q,2,h,w), of p = weight p_fine + (1 - weight) p_coarse.

    Log-odds `fine` (Q,h,w) and `coarse` (Q,h',w'), the latter resized. In logarithms throughout, so that
    odds of any size stay finite.
    """
    spread = F.interpolate(coarse[:, None], size=fine.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    shares = math.log(weight), math.log(1 - weight)
    sides = [
        torch.logaddexp(shares[0] + F.logsigmoid(sign * fine), shares[1] + F.logsigmoid(sign * spread))
        for sign in (-1, 1)
    ]
    return torch.stack(sides, dim=1)


def _plain(tensor: Tensor) -> Tensor:
    """Return the values as a tensor that autograd can start from, whatever mode made it."""
    return tensor.clone() if tensor.is_inference() else tensor.detach()
