"""RPT: a foreground prototype refined by the query's prediction and by attention among support regions.

Zhu et al., "Few-Shot Medical Image Segmentation via a Region-Enhanced Prototypical Transformer", MICCAI 2023.
RPT extends Q-Net and ADNet: the background has no prototype, and a pixel is foreground if its cosine with the
foreground's prototype passes a threshold T that a network computes from the slice. New in RPT: it partitions
the support's foreground into regions, and three passes of one transformer block refine the prototype.

Behaviour is that of the released program of March 2024 (variant "released"), or of its state of September
2023, the nearest to MICCAI by date (variant "2023": 10 regions, no residual of the prototype, other losses).
Rules RPT-1, RPT-2 and so on are those of docs/methods.md.

Differences from the release:
- The first centre of the partition is a draw. The release never resets its stream, so a prediction depends on
  all earlier calls. Here every call starts a new stream: the draw depends only on the number of candidate
  cells, and equal inputs give equal predictions. Training draws from torch's default generator, which the
  harness seeds by name.
- The release takes one support slice. Here each shot predicts as the only one, and the probabilities are
  averaged; an episode's losses are averaged over its pairs of shot and query.
- The release gives NaN on a grid of fewer than 100 cells; here that is an error.

Defects of the release that stay by default:
- A mask of fewer than 100 cells gets the first 100 cells of the grid, the slice's top left corner, so a small
  organ's regions are mostly corner. `few_cells=repeat` repeats the organ's own regions.
- The resized mask samples 2 x 2 of every 4 x 4 pixels, so it can miss a small mask completely; the regions
  are then the corner. With `few_cells=repeat` they are the prototype.
- The predicted ring is a difference of two probabilities. A negative difference is clamped: its loss is 15.9,
  without a gradient.
- The losses of 2023 apply a softmax and a sigmoid to probabilities. `squash_again=false` does not.
- `encoder.reduce2` exists but is never used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.rpt.attention import Pass, RegionAttention, RegionMLP, cut_affinities
from baselines.rpt.losses import (
    Variant,
    boundary_loss,
    dice_loss,
    dilate,
    likelihood_loss,
    log_pair,
    loss_weights,
)
from baselines.rpt.regions import (
    FewCells,
    Partition,
    fixed_draws,
    foreground_cells,
    partition,
    region_means,
    repeat_means,
    with_corner,
)
from baselines.threshold_learner import ThresholdLearner
from fewshot.base.errors import UserError
from fewshot.encoders.encoder import feature_channels
from fewshot.learners.logits import Branch, Features
from fewshot.learners.prototypes import AREA_FLOOR, average_under, resize_maps
from fewshot.learners.recipe import Recipe

NORM_FLOOR = 1e-8  # norms are at least this before a division


class RPT(ThresholdLearner):
    """The region-enhanced prototypical transformer on an encoder of one fine map and a threshold."""

    version: ClassVar[int] = 1
    loss_parts = ("query", "periphery", "alignment", "distance", "self", "boundary", "dice")

    @dataclass(frozen=True)
    class Options:
        """The paper's constants, the state of the release, and the corrections of its defects."""

        variant: Variant = "released"
        alpha: float = 20.0  # multiplies the cosine
        kappa: float = 0.5  # steepness of the sigmoid at the threshold
        passes: int = 3
        draw_seed: int = 1289  # seed of the first centre in evaluation
        few_cells: FewCells = "corner"  # the regions of a mask of too few cells: RPT-3
        squash_again: bool = True  # variant 2023: losses squash probabilities a second time

        def __post_init__(self) -> None:
            for name in ("alpha", "kappa", "passes"):
                if not getattr(self, name) > 0:
                    raise UserError(f"option {name} is {getattr(self, name)}; give a number above 0")
            if not 0 <= self.draw_seed < 2**32:
                raise UserError(f"option draw_seed is {self.draw_seed}; give a number from 0 to 2**32 - 1")

    options: Options

    def __init__(self, encoder: nn.Module, options: Any = None) -> None:
        super().__init__(encoder, options)
        channels = feature_channels(
            encoder, "rpt's attention", "give an encoder of map and thresholds, as ThresholdEncoder"
        )
        self.MHA = RegionAttention(channels)
        self.MLP = RegionMLP(channels)
        self.layer_norm = nn.LayerNorm(channels)
        self.regions = 100 if self.options.variant == "released" else 10
        self._loss_weights = loss_weights(self.options.variant, 0)

    @classmethod
    def recipe(cls) -> Recipe:
        """Return the published training up to the tested snapshot; the release's scripts run 40,000 steps."""
        return Recipe(
            steps=30_000, decay=0.98, decay_every=5000, snapshot_every=5000, episode="supervoxel-run"
        )

    def begin_step(self, step: int) -> None:
        """Set the weights of the losses; they change with the step in variant 2023 (rule RPT-13)."""
        self._loss_weights = loss_weights(self.options.variant, step)

    def logits(
        self, support_features: tuple[Tensor, Tensor], support_masks: Tensor,
        query_features: tuple[Tensor, Tensor], *, prepared: Mapping[str, Tensor], branch: Branch,
    ) -> Tensor:  # fmt: skip
        """Return the logarithms (Q,2,H,W) of the probabilities of background and foreground.

        Args:
            support_features: the fine map (S,C,h,w) and thresholds (S,1,1,1).
            support_masks: (S,H,W) bool.
            query_features: as `support_features`, for Q slices.
            prepared: not used.
            branch: not used; `loss` does not call `logits`.
        """
        size = (support_masks.shape[-2], support_masks.shape[-1])
        predictions = [
            resize_maps(self.passes(features, mask, query_features)[-1].probabilities, size, True)
            for features, mask in zip(support_features[0], support_masks, strict=True)
        ]
        return log_pair(torch.stack(predictions).mean(dim=0))

    def passes(self, features: Tensor, mask: Tensor, query: tuple[Tensor, Tensor]) -> list[Pass]:
        """Return every pass of the refinement of one support (rules RPT-2 to RPT-8).

        Args:
            features: (C,h,w), the support's fine map.
            mask: (H,W) bool.
            query: the fine map (Q,C,h,w) and thresholds (Q,1,1,1).
        """
        maps, thresholds = query
        prototype = self.prototype(features[None], mask[None])
        regions = self.region_features(features, mask, prototype[0]).expand(len(maps), -1, -1)
        probabilities = self.probabilities(maps, prototype, thresholds)
        passes = []
        for _ in range(self.options.passes):
            areas = probabilities.sum(dim=(1, 2)) + AREA_FLOOR
            context = torch.einsum("qchw,qhw->qc", maps, probabilities) / areas[:, None]
            affinities = torch.einsum("qkc,qc->qk", regions, context)
            shares = cut_affinities(affinities).softmax(dim=1)
            normed = self.layer_norm(shares[:, :, None] * context[:, None] + regions)
            attended = self.MHA(normed)
            regions = self.MLP(attended)
            prototypes = regions.mean(dim=1)
            if self.options.variant == "released":
                prototypes = prototypes + prototype
            probabilities = self.probabilities(maps, prototypes, thresholds)
            passes.append(Pass(context, affinities, normed, attended, regions, prototypes, probabilities))
        return passes

    def prototype(self, features: Tensor, masks: Tensor) -> Tensor:
        """Return the masked averages (N,C) of maps (N,C,h,w) resized to masks (N,H,W) (rule RPT-2)."""
        return average_under(features, masks, align_corners=False)

    def probabilities(self, maps: Tensor, prototypes: Tensor, thresholds: Tensor) -> Tensor:
        """Return sigmoid(kappa (T + alpha cos)), (N,h,w), of maps (N,C,h,w); prototypes (N,C) or (1,C)."""
        directions = F.normalize(prototypes, dim=1, eps=NORM_FLOOR)[:, :, None, None]
        cosines = (F.normalize(maps, dim=1, eps=NORM_FLOOR) * directions).sum(dim=1)
        return torch.sigmoid(self.options.kappa * (thresholds[:, 0] + self.options.alpha * cosines))

    def part_mask(self, mask: Tensor, grid: tuple[int, int]) -> Partition:
        """Return the partition of a mask (H,W) bool on a grid (h,w).

        Raises:
            UserError: the grid has fewer cells than there are regions.
        """
        if grid[0] * grid[1] < self.regions:
            raise UserError(
                f"rpt got a map of {grid[0]} x {grid[1]} cells, expected at least {self.regions} cells (one "
                "per region); give slices of at least 40 x 40 pixels"
            )
        cells = foreground_cells(mask, grid)
        if self.options.few_cells == "corner":
            cells = with_corner(cells, self.regions)
        first = self.first_centre(cells.sum(), len(cells))
        return partition(cells, grid[1], self.regions, first)

    def region_features(self, features: Tensor, mask: Tensor, prototype: Tensor) -> Tensor:
        """Return the regions' mean features (K,C) of a support map (C,h,w) under a mask (H,W)."""
        regions = self.part_mask(mask, (features.shape[-2], features.shape[-1]))
        means = region_means(features, regions)
        if self.options.few_cells == "repeat":
            return repeat_means(means, regions.count, prototype)
        return means

    def first_centre(self, count: Tensor, most: int) -> Tensor:
        """Return the number of the first centre among `count` candidates, 0-dim int64.

        Training draws it uniformly from torch's CPU generator; evaluation has the release's first draw.

        Args:
            count: 0-dim int64, the number of candidate cells.
            most: the largest possible count, the number of cells of the grid.
        """
        if self.training:
            share = torch.rand((), dtype=torch.float64).to(count.device)
            return torch.minimum((share * count).long(), (count - 1).clamp(min=0))
        table = torch.tensor(fixed_draws(self.options.draw_seed, most), device=count.device)
        return table.index_select(0, count.reshape(1))[0]

    def part_weights(self) -> dict[str, float]:
        """Return the weights of the variant's parts at the current step."""
        return self._loss_weights

    def episode_loss(
        self, support: Features, support_masks: Tensor, query: Features, query_masks: Tensor, prepared: Any
    ) -> tuple[Tensor, Tensor]:
        """Return the parts of the loss in the order of `loss_parts`, (7,); every episode is defined.

        Parts of the other variant are 0.
        """
        pairs = []
        for shot, mask in enumerate(support_masks):
            for number, truth in enumerate(query_masks):
                shot_maps = (support[0][shot : shot + 1], support[1][shot : shot + 1])
                query_maps = (query[0][number : number + 1], query[1][number : number + 1])
                parts = self._pair_losses(shot_maps, mask[None], query_maps, truth[None])
                absent = truth.new_zeros((), dtype=torch.float32)
                pairs.append(torch.stack([parts.get(name, absent) for name in self.loss_parts]))
        defined = torch.ones((), dtype=torch.bool, device=query_masks.device)
        return torch.stack(pairs).mean(dim=0), defined

    def _pair_losses(
        self, support: tuple[Tensor, Tensor], mask: Tensor, query: tuple[Tensor, Tensor], truth: Tensor
    ) -> dict[str, Tensor]:
        """Return the parts of the loss of one support and one query, masks (1,H,W) bool."""
        size = (mask.shape[-2], mask.shape[-1])
        grid = self.passes(support[0][0], mask[0], query)[-1].probabilities
        prediction = resize_maps(grid, size, True)
        parts = {"query": likelihood_loss(prediction, truth, self.class_weights)}
        if self.options.variant == "2023":
            again = self.options.squash_again
            return parts | {
                "boundary": boundary_loss(prediction, truth, again),
                "dice": dice_loss(prediction, truth, again),
            }
        prototype = self.prototype(support[0], mask)
        predicted = self.hard_mask(prediction)
        back = self.prototype(query[0], predicted)
        aligned = resize_maps(self.probabilities(support[0], back, query[1]), size, True)
        true_prototype = self.prototype(query[0], truth)
        own = resize_maps(self.probabilities(query[0], true_prototype, query[1]), size, True)
        shown = predicted.any()
        return parts | {
            "periphery": self.periphery_loss(support, mask, prototype),
            "alignment": torch.where(shown, likelihood_loss(aligned, mask), 0.0),
            "distance": torch.where(shown, (back - prototype).square().mean(), 0.0),
            "self": likelihood_loss(own, truth),
        }

    def periphery_loss(self, support: tuple[Tensor, Tensor], mask: Tensor, prototype: Tensor) -> Tensor:
        """Return the likelihood loss of the ring around the support's mask (rule RPT-10), 0-dim."""
        grown = dilate(mask.float()) > 0
        return likelihood_loss(self.ring(support, mask, prototype), grown & ~mask)

    def ring(self, support: tuple[Tensor, Tensor], mask: Tensor, prototype: Tensor) -> Tensor:
        """Return the predicted probability (1,H,W) of the ring around a mask; it may be negative."""
        size = (mask.shape[-2], mask.shape[-1])
        wide = self.prototype(support[0], dilate(mask.float()))
        maps, thresholds = support
        inside, grown = (
            resize_maps(self.probabilities(maps, one, thresholds), size, True) for one in (prototype, wide)
        )
        return grown - inside
