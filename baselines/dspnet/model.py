"""DSPNet: SSL-ALPNet with foreground prototypes that keep detail and background ones that keep structure.

Tang et al., "DSPNet: Dual Semantic Prototypes Network for Few-shot Medical Image Segmentation", Medical
Image Analysis 2025, arXiv 2406.18074. Two modules refine SSL-ALPNet's prototypes; encoder, loss, windows
and training loop are SSL-ALPNet's.

*FSPA*, foreground semantic prototype attention, replaces the foreground's global prototype. Detail prototypes
are the centres of a soft clustering of the support's foreground. FSPA adds them to the support's features
where query-aware features are similar to them, and averages the result over the mask.
*BCMA*, background channel-structural multi-head attention, multiplies the channels of every pooled cell by a
learnt matrix, sharpened between neighbouring channels that correlate.

The released program takes only one shot. Here each of several shots has its own seeds, detail prototypes,
attention and channel structure, and gives one prototype to the foreground's set. A repeated shot changes
nothing.

Behaviour is that of the released program, which made the published checkpoints and tables.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from baselines.dspnet.bcma import ChannelAttention
from baselines.dspnet.explanation import VARIANTS, explain
from baselines.dspnet.fspa import Clusters, check_grid, seeds_of_masks, semantic_prototypes, soft_clusters
from baselines.dspnet.published import PAPER, PRESETS, ROWS, STAND_IN, Constants, Preset
from baselines.ssl_alpnet import SSLALPNet
from fewshot.base.errors import UserError
from fewshot.base.types import Support
from fewshot.encoders.encoder import feature_channels
from fewshot.learners.learner import Ablations
from fewshot.learners.logits import Branch
from fewshot.learners.paper_layout import PaperLayout
from fewshot.learners.prototypes import (
    masked_average,
    own_similarities,
    pooled_cells,
    resize_masks,
    set_scores,
    similarities,
)
from fewshot.learners.recipe import Recipe
from fewshot.studies.explanation import Explanation

CAL_RATE = 1e-4  # factor of the learning rate for the channel matrix


class DSPNet(SSLALPNet):
    """The dual semantic prototypes network on an encoder of stride 8 with the attribute `out_channels`."""

    version: ClassVar[int] = 1
    ablations: ClassVar[Ablations] = {
        label: {"fspa": str(fspa).lower(), "bcma": str(bcma).lower()}
        for label, (fspa, bcma) in VARIANTS.items()
    }
    paper_layout: ClassVar[PaperLayout | None] = PAPER

    @dataclass(frozen=True)
    class Options(SSLALPNet.Options):
        """SSL-ALPNet's constants and those that the authors change by setting.

        An option of None has the preset's number. Under a protocol, `auto` becomes the authors' row for its
        region and setting; a learner without a protocol has the released constants.
        """

        preset: Preset = "auto"
        alpha_foreground: float | None = None  # weight of channel structure in the foreground's cells
        alpha_background: float | None = None  # weight of channel structure in the background's cells
        w: tuple[float, ...] | None = None  # initial weights of the previous, the same and the next channel
        fspa: bool = True  # False: SSL-ALPNet's global prototype
        bcma: bool = True  # False: SSL-ALPNet's cells

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.preset != "auto" and self.preset not in PRESETS:
                raise UserError(f"option preset is {self.preset!r}; give auto, {', '.join(PRESETS)}")
            for name in ("alpha_foreground", "alpha_background"):
                value = getattr(self, name)
                if value is not None and value < 0:
                    raise UserError(f"option {name} is {value}; give a number from 0 on")
            if self.w is not None:
                object.__setattr__(self, "w", tuple(self.w))  # JSON gives a list
                if len(self.w) != 3:
                    raise UserError(f"option w has {len(self.w)} numbers; give three, as in 0.3,0.8,0.3")

        @property
        def constants(self) -> Constants:
            """The preset's numbers; an option that is not None replaces its number."""
            published = PRESETS["released" if self.preset == "auto" else self.preset]
            changes = {name: getattr(self, name) for name in Constants._fields}
            return published._replace(**{name: value for name, value in changes.items() if value is not None})

    options: Options

    def __init__(self, encoder: nn.Module, options: Any = None) -> None:
        super().__init__(encoder, options)
        channels = feature_channels(encoder, "dspnet's matrix")
        self.cls_unit = ChannelAttention(channels, self.options.constants.w)

    @classmethod
    def constants_for(cls, options: Options, region: str, setting: int) -> tuple[Options, tuple[str, ...]]:
        """Return the options with every number set, and a mark if they are not the authors' row."""
        place = f"{region} in setting {setting}"
        fitting = ROWS.get((region, setting))
        preset = (fitting or STAND_IN) if options.preset == "auto" else options.preset
        marks: tuple[str, ...] = ()
        if fitting is None:
            marks = (f"dspnet: the authors give no constants for {place}; taken: {preset}",)
        elif preset != fitting:
            marks = (f"dspnet: preset {preset} on {place}, for which the authors give {fitting}",)
        named = dataclasses.replace(options, preset=preset)
        return dataclasses.replace(named, **named.constants._asdict()), marks

    @classmethod
    def recipe(cls) -> Recipe:
        """Return the training of the authors' configuration file (their script has 100,100 steps)."""
        return Recipe(steps=50_000)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return two groups: all weights but the channel matrix, then the matrix at 1e-4 of the rate."""
        slow = [p for p in self.cls_unit.parameters() if p.requires_grad]
        slow_ids = {id(p) for p in slow}
        rest = [p for p in self.parameters() if p.requires_grad and id(p) not in slow_ids]
        return [{"params": rest, "rate": 1.0}, {"params": slow, "rate": CAL_RATE}]

    def prepare(self, support_masks: Tensor) -> dict[str, Tensor]:
        """Return the seeds of support masks (S,H,W) bool: `seeds` (S,5,2) and `seeded` (S,5)."""
        return seeds_of_masks(support_masks)

    def logits(
        self,
        support_features: Tensor,
        support_masks: Tensor,
        query_features: Tensor,
        *,
        prepared: Mapping[str, Tensor],
        branch: Branch,
    ) -> tuple[Tensor, Tensor]:
        """Return scores (Q,2,h,w), background first, and `defined`, as SSL-ALPNet does.

        The query branch needs `prepared` from `prepare`; the alignment branch has no seeds.
        """
        sets = self.prototype_sets(
            support_features, support_masks, query_features, prepared=prepared, branch=branch
        )
        similar = self.candidate_similarities(sets, query_features)
        return set_scores(similar, sets.members.float(), self.options.scale), sets.defined

    def prototype_sets(
        self,
        support_features: Tensor,
        support_masks: Tensor,
        query_features: Tensor,
        *,
        prepared: Mapping[str, Tensor],
        branch: Branch,
    ) -> PrototypeSets:
        """Return the prototype sets of both classes for every query; the arguments are those of `logits`."""
        options = self.options
        size = (support_features.shape[-2], support_features.shape[-1])
        foreground = resize_masks(support_masks, size)
        background = 1.0 - foreground
        window = self._window(size, branch)

        background_cells, foreground_cells = self.cells(support_features, window)
        fallback = masked_average(support_features, background).mean(dim=0, keepdim=True)
        semantic = self._semantic(
            support_features, foreground, support_masks, query_features, prepared, branch
        )
        own = torch.cat([semantic, semantic.mean(dim=1, keepdim=True)], dim=1)

        # Members, in the order of the candidates.
        is_background = pooled_cells(background[:, None], window)[:, 0] > options.threshold
        is_foreground = pooled_cells(foreground[:, None], window)[:, 0] > options.threshold
        defined = is_background.any()
        local = self._large_enough(foreground)
        no_cell, no_own = torch.zeros_like(is_background), local.new_zeros(own.shape[1])
        each_shot = local.expand(len(support_features))
        members = torch.stack(
            [
                torch.cat([is_background, no_cell, ~defined[None], no_own]),
                torch.cat([no_cell, is_foreground & local, no_own[:1], each_shot, ~local[None]]),
            ]
        )
        return PrototypeSets(background_cells, foreground_cells, fallback, own, members, defined)

    def candidate_similarities(self, sets: PrototypeSets, query_features: Tensor) -> Tensor:
        """Return scale * cosine (Q,P,h,w) of every candidate and every position of queries (Q,C,h,w)."""
        scale = self.options.scale
        shared = torch.cat([sets.background_cells, sets.foreground_cells, sets.fallback])
        return torch.cat(
            [
                similarities(shared, query_features, scale),
                own_similarities(sets.own, query_features, scale),
            ],
            dim=1,
        )

    def cells(self, features: Tensor, window: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return pooled cells (S*n,C) of features (S,C,h,w), for the background and for the foreground.

        BCMA multiplies their channels, with the alpha of each class; without BCMA both are the pooled cells.
        """
        cells = pooled_cells(features, window)
        if not self.options.bcma:
            return cells, cells
        constants = self.options.constants
        alphas = (constants.alpha_background, constants.alpha_foreground)
        of_background, of_foreground = self.cls_unit(cells.view(len(features), -1, cells.shape[1]), alphas)
        return of_background.flatten(0, 1), of_foreground.flatten(0, 1)

    def clusters(
        self, features: Tensor, foreground: Tensor, prepared: Mapping[str, Tensor], pixels: tuple[int, int]
    ) -> Clusters:
        """Return FSPA's clusters of features (S,C,h,w), grown from the seeds of `prepare`.

        Args:
            features: Support features (S,C,h,w).
            foreground: Support masks at their size, float (S,h,w) in [0, 1].
            prepared: The result of `prepare` for the support masks.
            pixels: Height and width of the slices.

        Raises:
            UserError: The feature map has no position for every 8th pixel.
        """
        check_grid((features.shape[-2], features.shape[-1]), pixels)
        return soft_clusters(features, foreground, prepared)

    def with_modules(self, fspa: bool, bcma: bool) -> DSPNet:
        """Return this learner with its modules switched on or off; both share every weight."""
        variant = copy.copy(self)
        variant.options = dataclasses.replace(self.options, fspa=fspa, bcma=bcma)
        return variant

    def explain(self, support: Support, query: Tensor) -> Explanation:
        """Return the explanation of the mask of one query slice (1,1,H,W); see `fewshot.explanation`."""
        if type(self).logits is not DSPNet.logits:
            raise UserError(
                f"{type(self).__name__} has logits of its own, which DSPNet's explanation does not show; "
                "give it an explain of its own, or explain = None"
            )
        return explain(self, support, query)

    def _semantic(
        self, support: Tensor, foreground: Tensor, masks: Tensor, query: Tensor,
        prepared: Mapping[str, Tensor], branch: Branch,
    ) -> Tensor:  # fmt: skip
        """Return the prototype (Q,S,C) of every shot for every query; the alignment branch has no seeds."""
        if not self.options.fspa:
            return masked_average(support, foreground).expand(len(query), -1, -1)
        if branch == "alignment":
            return semantic_prototypes(support, foreground, query, None)
        clusters = self.clusters(support, foreground, prepared, (masks.shape[-2], masks.shape[-1]))
        return semantic_prototypes(support, foreground, query, (clusters.centres, clusters.counts))


class PrototypeSets(NamedTuple):
    """Candidate prototypes of S shots, P = 2n + 1 + S + 1 in the order of the fields, and their classes.

    Attributes:
        background_cells: (n,C), the same for every query.
        foreground_cells: (n,C), the same for every query.
        fallback: (1,C), the background's global prototype, the same for every query.
        own: (Q,S+1,C), each query's own: the semantic prototype of every shot, then their mean.
        members: (2,P) bool, which candidates belong to the background (first) and to the foreground.
        defined: 0-dim bool, whether some cell is background, so that the background has local prototypes.
    """

    background_cells: Tensor
    foreground_cells: Tensor
    fallback: Tensor
    own: Tensor
    members: Tensor
    defined: Tensor
