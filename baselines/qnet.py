"""Q-Net: anomaly scores at two scales, cut at a threshold and by a prototype that the query informs.

Shen et al., "Q-Net: Query-Informed Few-Shot Medical Image Segmentation", IntelliSys 2023, arXiv 2208.11451.
It extends ADNet (Hansen et al., Medical Image Analysis 2022, arXiv 2203.02048): the background has no
prototype; a query pixel is foreground if its anomaly score S = -20 cos with the only prototype, the
foreground's, is below a threshold T. Two maps of a ResNet-101, of strides 4 and 8, have a prototype each; T
comes from the query's own layer4; at test time, and not in training, each prototype is refined on each query.

Behaviour is that of the released program (ZJLAB-AMMI/Q-Net), and its checkpoints load. `docs/methods.md`,
rules QNET-1 to QNET-8, says it exactly. What was found in the release, with the option that mends it:
- The refinement does not inform. Its binary cross-entropy has the query's own features as the prediction and
  the rebuilt ones as the target, so no channel ever has a reason to fall: seven steps add 0.0697 +- 0.0003,
  seven times Adam's 0.01, to every channel of the prototype whatever the query shows. Exceptions: a channel
  that is the extremum of the rebuilt map may fall, and a map that predicts nothing moves nothing.
  `refinement=exchanged` makes the rebuilt features the prediction and the query's own the target, as the
  paper describes it; `refinement_steps=0` leaves it out.
- The threshold is two linear layers without an activation between, that is one linear map. It starts at a few
  tenths, since the COCO weights bring no classifier, where everything is foreground; `initial_threshold=-10`
  starts where ADNet does. No term of the loss lowers it: the constant for one is 0 and never read.
- The weight of the fine map is 0.9; in setting 2 the authors note 0.6, typed in by hand: `fine_weight=0.6`.
- Of ADNet's: aligned corners in one of two resizings (`align_corners=false`), empty support masks
  (`skip_empty_support=true`), the shear (`augmentation=centred`).
- The release's ImageNet file loads nothing, its names lacking a prefix; here `--weights imagenet` loads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fewshot.base.errors import UserError
from fewshot.encoders.encoder import TwoScaleEncoder
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
from fewshot.learners.learner import Branch, Features, PrototypeLearner, Recipe, call_logits
from fewshot.learners.refinement import REFINEMENTS, Refined, refinement_steps

Maps = tuple[Tensor, Tensor, Tensor]  # fine (N,C,h,w), coarse (N,C,h/2,w/2), threshold (N,1,1,1)


class QNet(PrototypeLearner):
    """The query-informed network on an encoder that gives a fine map, a coarse map and a threshold."""

    version: ClassVar[int] = 2
    adapts = True
    class_weights = CLASS_WEIGHTS

    @dataclass(frozen=True)
    class Options:
        """The released constants, and what the release has that one may want otherwise."""

        alpha: float = 20.0  # multiplies the cosine
        kappa: float = 0.5  # steepness of the sigmoid at the threshold
        fine_weight: float = 0.9  # of the probability at stride 4; the rest is that at stride 8
        refinement: Literal["released", "exchanged"] = "released"
        refinement_steps: int = 7
        refinement_rate: float = 0.01  # Adam's, in units of the features
        initial_threshold: float | None = None  # first bias of the threshold; none: as torch draws it
        align_corners: bool = True  # of the resizing of probabilities; false: as of everything else
        skip_empty_support: bool = False  # true: a training episode without support pixel is skipped

        def __post_init__(self) -> None:
            for name in ("alpha", "kappa", "refinement_rate"):
                if not getattr(self, name) > 0:
                    raise UserError(f"option {name} is {getattr(self, name)}; give a number above 0")
            if not 0 < self.fine_weight < 1:
                raise UserError(f"option fine_weight is {self.fine_weight}; give a number between 0 and 1")
            if self.refinement not in REFINEMENTS:
                raise UserError(f"option refinement is {self.refinement!r}; give {' or '.join(REFINEMENTS)}")
            if self.refinement_steps < 0:
                raise UserError(
                    f"option refinement_steps is {self.refinement_steps}; give a whole number from 0 on"
                )

    options: Options

    def __init__(self, encoder: nn.Module, options: Any = None) -> None:
        super().__init__(encoder, options)
        if self.options.initial_threshold is not None:
            last = getattr(encoder, "reduce1d", None)
            if not isinstance(last, nn.Linear):
                raise UserError(
                    f"option initial_threshold is {self.options.initial_threshold}, but "
                    f"{type(encoder).__name__} has no layer reduce1d to set; leave it at none"
                )
            nn.init.constant_(last.bias, self.options.initial_threshold)

    @classmethod
    def new_encoder(cls, name: str, seed: int) -> nn.Module:
        """Return the ResNet with maps of stride 4 and 8 and a threshold."""
        return TwoScaleEncoder(name, seed=seed)

    def encode(self, images: Tensor) -> Features:
        """Return fine map, coarse map and threshold of images (N,1,H,W); at test without gradient."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.training):
            return super().encode(images)

    def logits(
        self, support_features: Maps, support_masks: Tensor, query_features: Maps, *,
        prepared: Mapping[str, Tensor], branch: Branch,
    ) -> Tensor:  # fmt: skip
        """Return log-probabilities (Q,2,H,W) of background and foreground, at the size of the masks.

        Masks (S,H,W) in both branches. Always defined. In the alignment branch the support slices are scored
        with the threshold of the query, which is then given as the support (QNET-6).
        """
        thresholds = query_features[2] if branch == "query" else support_features[2].mean(dim=0, keepdim=True)
        prototype_of = mean_prototype if branch == "query" else pooled_prototype
        refine = not self.training and branch == "query" and self.options.refinement_steps > 0
        size = (support_masks.shape[-2], support_masks.shape[-1])
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.training):
            cuts = thresholds.flatten().expand(len(query_features[0]))
            maps = []
            for support, query in zip(support_features[:2], query_features[:2], strict=True):
                prototypes = prototype_of(support, support_masks).expand(len(query), -1)
                if refine:
                    prototypes = self.refined(prototypes, query, cuts)
                found = self.foreground(prototypes, query, cuts)
                maps.append(resize_probabilities(found, size, self.options.align_corners))
            share = self.options.fine_weight
            return log_probabilities(share * maps[0] + (1 - share) * maps[1])

    def foreground(self, prototypes: Tensor, query: Tensor, thresholds: Tensor) -> Tensor:
        """Return P (Q,h,w) of one map (Q,C,h,w) by each query's own prototype (Q,C) and threshold (Q,)."""
        return probabilities(
            anomaly_scores(prototypes, query, self.options.alpha), thresholds, self.options.kappa
        )

    def refined(self, prototypes: Tensor, query: Tensor, thresholds: Tensor) -> Tensor:
        """Return prototypes (Q,C), each after Adam's steps on its own query map (Q,C,h,w) (QNET-5).

        Nothing but the prototypes gets a gradient. One query at a time: a map at stride 4 is large.
        """
        with torch.inference_mode(False), torch.enable_grad():
            each = zip(_plain(prototypes), _plain(query), _plain(thresholds), strict=True)
            return torch.stack([self._refined(*one) for one in each])

    def _refined(self, prototype: Tensor, query: Tensor, threshold: Tensor) -> Tensor:
        steps = islice(self.refinement(prototype, query, threshold), self.options.refinement_steps)
        return deque(steps, maxlen=1).pop().prototype

    def refinement(self, prototype: Tensor, query: Tensor, threshold: Tensor) -> Iterator[Refined]:
        """Yield steps of refining a prototype (C,) on one map (C,h,w) with threshold (), without end."""

        def predict(current: Tensor) -> Tensor:
            return self.foreground(current[None], query[None], threshold[None])[0] > 0.5

        options = self.options
        return refinement_steps(
            prototype, query, predict, rate=options.refinement_rate, kind=options.refinement
        )

    def _episode_loss(
        self, support: Features, support_masks: Tensor, query: Features, query_masks: Tensor, prepared: Any
    ) -> tuple[Tensor, Tensor]:
        """Return (query loss, alignment loss) as (2,), and whether the episode counts (QNET-4, QNET-6)."""
        logs, _defined = call_logits(self, support, support_masks, query, prepared, "query")
        predicted = logs[:, 1] > logs[:, 0]
        back, _defined = call_logits(self, query, predicted, support, {}, "alignment")
        parts = [query_loss(logs, query_masks), alignment_loss(back, support_masks, predicted)]
        return torch.stack(parts), counted(support_masks, self.options.skip_empty_support)

    @classmethod
    def recipe(cls) -> Recipe:
        """Return the released training: the scripts' numbers, not those of the configuration file."""
        return Recipe(steps=30_000, decay=0.98, snapshot_every=10_000, episode="supervoxel-run")


def _plain(tensor: Tensor) -> Tensor:
    """Return the values as a tensor that autograd can start from, whatever mode made it."""
    return tensor.clone() if tensor.is_inference() else tensor.detach()
