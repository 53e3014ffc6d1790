"""GMRD: many descriptors of foreground and background, compared with the query and decoded to two logit maps.

Cheng et al., "Few-Shot Medical Image Segmentation via Generating Multiple Representative Descriptors", IEEE
Transactions on Medical Imaging, 2024. GMRD has Q-Net's encoder and training episodes. A small network makes
100 descriptors of the foreground and 600 of the background from all pixels of a side; a decoder for each side
turns the cosines of the query's features with them into a logit map.

Behaviour is that of the released program of December 2024 (variant "released"). Variant "2023" is the state
of November 2023, before publication: a ReLU in the descriptor network and the two losses that the abstract
names. It follows the code of that state, of which no recorded number exists.
Rules GMRD-1, GMRD-2 and so on are those of docs/methods.md.

Differences from the release:
- A filled map copies randomly drawn pixels. The release draws from Python's global stream, in tests too, so a
  support gives another prediction for every query slice, and a result depends on all earlier calls. Here
  every call starts a new stream from `draw_seed`, and equal inputs give equal predictions. `fill=mean`
  replaces each drawn pixel by the side's mean, which gives the exact expectation of every descriptor (variant
  "released", whose network is linear). Training draws from torch's default generator, which the harness seeds
  by name.
- The release takes only slices of 256 x 256 pixels. Here masks and maps of another size are resized to
  256 x 256 for the descriptors.
- With several shots the draws follow the order of the shots, so `fill=fresh` depends on that order.

Defects of the release that stay by default:
- The "outer ring" of the background is not a ring: weights are +1 on the whole background, 0 on the inner
  ring and -1 deep inside the organ, and their sum may be near 0. `outer_ring=ring` takes the pixels outside
  the organ and within two pixels of it.
- For an empty support mask, which occurs in training, only the threshold T decides, and only such episodes
  train it. `learn_from_empty=false` makes them undefined.
- `encoder.reduce2` exists but is never used.
- The released test program stops at its first slice: it expects three results of a model that returns two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.gmrd.descriptors import (
    Decoder,
    FilledSums,
    OuterRing,
    background_means,
    foreground_means,
    pixel_masks,
)
from baselines.gmrd.fill import Fill, Sample, fill_from_samples, random_fill, released_samples, tiled_fill
from baselines.gmrd.losses import inter_loss, intra_loss
from baselines.rpt.losses import likelihood_loss, log_pair
from baselines.threshold_learner import ThresholdLearner
from fewshot.base.errors import UserError
from fewshot.learners.logits import Branch, Features
from fewshot.learners.prototypes import average_under, resize_maps
from fewshot.learners.recipe import Recipe

Variant = Literal["released", "2023"]
Maps = tuple[Tensor, Tensor]  # fine maps (N,C,h,w) and thresholds (N,1,1,1)
FOREGROUND, BACKGROUND = 100, 600  # descriptors that a network makes for each side
NORM_FLOOR = 1e-12  # norms are at least this before a division
ALPHA, KAPPA = 20.0, 0.5  # the threshold's probability is sigmoid(0.5 (T + 20 cos))
DESCRIPTOR_LOSSES = 0.5  # weight of each of the two losses of 2023


class GMRD(ThresholdLearner):
    """The network of multiple descriptors on an encoder of one fine map and a threshold."""

    version: ClassVar[int] = 1
    support_order_matters = True
    loss_parts = ("query", "alignment", "intra", "inter")

    @dataclass(frozen=True)
    class Options:
        """The state of the release, the draws of evaluation, and the corrections of its defects."""

        variant: Variant = "released"
        fill: Literal["fresh", "mean"] = "fresh"  # in evaluation: the seeded draw, or its expectation
        draw_seed: int = 2025  # seed of the fresh draw
        outer_ring: OuterRing = "released"
        learn_from_empty: bool = True  # False: an episode with an empty support mask is undefined

        def __post_init__(self) -> None:
            if self.draw_seed < 0:
                raise UserError(f"option draw_seed is {self.draw_seed}; give a whole number from 0 on")

    options: Options

    def __init__(self, encoder: nn.Module, options: Any = None) -> None:
        super().__init__(encoder, options)
        rectified = self.options.variant == "2023"
        self.mlp1 = FilledSums(FOREGROUND, rectified)
        self.mlp2 = FilledSums(BACKGROUND, rectified)
        self.decoder1 = Decoder(FOREGROUND)
        self.decoder2 = Decoder(BACKGROUND)

    @classmethod
    def recipe(cls) -> Recipe:
        """Return the published training; the release does not say which of its snapshots is tested."""
        return Recipe(
            steps=36_000, decay=0.98, decay_every=3000, snapshot_every=6000, episode="supervoxel-run"
        )

    def logits(
        self, support_features: Maps, support_masks: Tensor, query_features: Maps, *,
        prepared: Mapping[str, Tensor], branch: Branch,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return the logarithms (Q,2,H,W) of the probabilities of background and foreground, and `defined`.

        Args:
            support_features: fine maps (S,C,h,w) and thresholds (S,1,1,1).
            support_masks: (S,H,W) bool.
            query_features: as `support_features`, for Q slices.
            prepared: not used.
            branch: not used; `loss` does not call `logits`.
        """
        size = (support_masks.shape[-2], support_masks.shape[-1])
        fills = self.draw_fills(pixel_masks(support_masks))
        descriptors = self.descriptors(support_features[0], support_masks, fills)
        by_descriptors = self.probabilities(descriptors, query_features[0], size)
        by_threshold = self.threshold_probabilities(query_features, size)
        shown = support_masks.any()
        scores = log_pair(torch.where(shown, by_descriptors, by_threshold))
        return scores, shown | self.options.learn_from_empty

    def descriptors(self, features: Tensor, masks: Tensor, fills: tuple[Fill, Fill]) -> tuple[Tensor, Tensor]:
        """Return the descriptors of foreground (102,C) and background (602,C), means over N shots.

        Rows are the network's descriptors, the mean and the ring's mean (rules GMRD-2, GMRD-3).

        Args:
            features: (N,C,h,w) float32.
            masks: (N,H,W) bool.
            fills: of foreground and background, for N sides of 256 * 256 pixels each.
        """
        pixels = pixel_masks(masks)
        mean = self.options.fill == "mean" and not self.training
        made_foreground = self.mlp1(features, pixels, fills[0], mean)
        made_background = self.mlp2(features, ~pixels, fills[1], mean)
        foreground = torch.cat([made_foreground, foreground_means(features, pixels)], dim=1)
        around = background_means(features, pixels, self.options.outer_ring)
        background = torch.cat([made_background, around], dim=1)
        return foreground.mean(dim=0), background.mean(dim=0)

    def draw_fills(self, pixels: Tensor) -> tuple[Fill, Fill]:
        """Return the fills of foreground and background of masks (N,256,256) bool (rule GMRD-4)."""
        if not self.training and self.options.fill == "fresh":
            return self.fills_from(pixels, released_samples(self.options.draw_seed))
        sides = torch.cat([pixels, ~pixels]).flatten(1)
        return split_fill(random_fill(sides) if self.training else tiled_fill(sides), len(pixels))

    def fills_from(self, pixels: Tensor, sample: Sample) -> tuple[Fill, Fill]:
        """Return the fills drawn by `sample`, first for the foreground of each mask, then the background."""
        sides = torch.cat([pixels, ~pixels]).flatten(1)
        return split_fill(fill_from_samples(sides, sample), len(pixels))

    def maps(self, descriptors: tuple[Tensor, Tensor], features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logit maps (N,h,w) of foreground and background for fine maps (N,C,h,w)."""
        directions = F.normalize(features, dim=1, eps=NORM_FLOOR)
        cosines = [
            torch.einsum("kc,nchw->nkhw", F.normalize(one, dim=1, eps=NORM_FLOOR), directions)
            for one in descriptors
        ]
        return self.decoder1(cosines[0]), self.decoder2(cosines[1])

    def probabilities(
        self, descriptors: tuple[Tensor, Tensor], features: Tensor, size: tuple[int, int]
    ) -> Tensor:
        """Return the foreground's probability (N,H,W) for fine maps (N,C,h,w)."""
        foreground, background = self.maps(descriptors, features)
        return torch.sigmoid(resize_maps(foreground, size, True) - resize_maps(background, size, True))

    def threshold_probabilities(
        self, maps: Maps, size: tuple[int, int], prototype: Tensor | None = None, cut: Tensor | None = None
    ) -> Tensor:
        """Return sigmoid(0.5 (T + 20 cos)), (N,H,W), the prediction for an empty support mask (rule GMRD-7).

        Args:
            maps: fine maps (N,C,h,w) and thresholds (N,1,1,1).
            size: (H,W).
            prototype: (1,C); None means a cosine of 0 everywhere.
            cut: (1,1,1,1), replaces the maps' own T.
        """
        features, thresholds = maps
        thresholds = thresholds if cut is None else cut
        cosines = torch.zeros_like(features[:, 0])
        if prototype is not None:
            direction = F.normalize(prototype, dim=1, eps=NORM_FLOOR)[:, :, None, None]
            cosines = (F.normalize(features, dim=1, eps=NORM_FLOOR) * direction).sum(dim=1)
        return resize_maps(torch.sigmoid(KAPPA * (thresholds[:, 0] + ALPHA * cosines)), size, True)

    def part_weights(self) -> dict[str, float]:
        """Return the weights of query and alignment loss; variant 2023 adds 0.5 (intra + inter)."""
        weights = {"query": 1.0, "alignment": 1.0}
        if self.options.variant == "2023":
            weights |= {"intra": DESCRIPTOR_LOSSES, "inter": DESCRIPTOR_LOSSES}
        return weights

    def episode_loss(
        self, support: Features, support_masks: Tensor, query: Features, query_masks: Tensor, prepared: Any
    ) -> tuple[Tensor, Tensor]:
        """Return the parts of the loss in the order of `loss_parts`, (4,), and whether the episode is used.

        The host reads whether the support is empty. The weights of the unused path must have no gradient, so
        that weight decay does not move them.
        """
        supports, queries = (support[0], support[1]), (query[0], query[1])
        shown = bool(support_masks.any())
        losses = []
        for number, truth in enumerate(query_masks):
            query_maps = (queries[0][number : number + 1], queries[1][number : number + 1])
            losses_of = self._descriptor_losses if shown else self._threshold_losses
            losses.append(losses_of(supports, support_masks, query_maps, truth[None]))
        defined = query_masks.new_full((), shown or self.options.learn_from_empty)
        return torch.stack(losses).mean(dim=0), defined

    def _descriptor_losses(self, support: Maps, masks: Tensor, query: Maps, truth: Tensor) -> Tensor:
        """Return the losses (query, alignment, intra, inter) of one query, (4,); truth (1,H,W) bool."""
        size = (truth.shape[-2], truth.shape[-1])
        fills = self.draw_fills(pixel_masks(masks))
        prediction = self.probabilities(self.descriptors(support[0], masks, fills), query[0], size)
        query_loss = likelihood_loss(prediction, truth, self.class_weights)
        predicted = self.hard_mask(prediction)
        pixels = pixel_masks(predicted)
        aligned, intra, inter = [], [], []
        for shot, mask in enumerate(masks):
            features = support[0][shot : shot + 1]
            theirs = self.descriptors(query[0], predicted, self.draw_fills(pixels))
            aligned.append(likelihood_loss(self.probabilities(theirs, features, size), mask[None]))
            if self.options.variant == "2023":
                own = tuple(Fill(f.sources[shot : shot + 1], f.drawn[shot : shot + 1]) for f in fills)
                ours = self.descriptors(features, mask[None], (own[0], own[1]))
                intra.append(intra_loss(ours, theirs))
                inter.append(inter_loss(ours, theirs))
        zero = query_loss.new_zeros(())
        parts = [
            torch.stack(aligned).mean(), *(torch.stack(one).sum() if one else zero for one in (intra, inter))
        ]  # fmt: skip
        return torch.stack([query_loss, *(torch.where(predicted.any(), part, 0.0) for part in parts)])

    def _threshold_losses(self, support: Maps, masks: Tensor, query: Maps, truth: Tensor) -> Tensor:
        """Return (query, alignment, 0, 0), the losses of one query for an empty support mask (GMRD-7)."""
        size = (truth.shape[-2], truth.shape[-1])
        prediction = self.threshold_probabilities(query, size)
        query_loss = likelihood_loss(prediction, truth, self.class_weights)
        predicted = self.hard_mask(prediction)
        prototype = average_under(query[0], predicted, align_corners=True)
        back = self.threshold_probabilities(support, size, prototype, query[1])
        zero = query_loss.new_zeros(())
        alignment = torch.where(predicted.any(), likelihood_loss(back, masks), 0.0)
        return torch.stack([query_loss, alignment, zero, zero])


def split_fill(fill: Fill, shots: int) -> tuple[Fill, Fill]:
    """Return the fill of the first `shots` sides and that of the others."""
    first, second = slice(0, shots), slice(shots, None)
    return Fill(fill.sources[first], fill.drawn[first]), Fill(fill.sources[second], fill.drawn[second])
