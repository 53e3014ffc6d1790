"""Q-Net: anomaly scores at two scales against a threshold, with a prototype refined on the query.

Shen et al., "Q-Net: Query-Informed Few-Shot Medical Image Segmentation", IntelliSys 2023, arXiv 2208.11451.
It extends ADNet (Hansen et al., Medical Image Analysis 2022, arXiv 2203.02048): only the foreground has a
prototype, and a query pixel is foreground if its anomaly score S = -20 cos with it is below a threshold T.
Two maps of a ResNet-101, of strides 4 and 8, have a prototype each; T comes from the query's own layer4. At
test time, not in training, Adam refines each prototype on each query.

Behaviour is that of the released program (ZJLAB-AMMI/Q-Net), and its checkpoints load. Rules QNET-1 to QNET-8
of docs/methods.md define it. Defects of the release, each with the option that corrects it:
- The refinement does not use the query. Its binary cross-entropy has the query's own features as the
  prediction and the rebuilt features as the target, so no gradient lowers a channel: seven steps add
  0.0697 +- 0.0003, seven times Adam's 0.01, to every channel of the prototype for any query. Exceptions: a
  channel that is the extremum of the rebuilt map may fall, and an empty prediction moves nothing.
  `refinement=exchanged` makes the rebuilt features the prediction and the query's own the target, as in the
  paper; `refinement_steps=0` disables the refinement.
- The threshold is two linear layers without an activation between them, that is one linear map. The COCO
  weights contain no classifier, so it starts at a few tenths, which makes everything foreground;
  `initial_threshold=-10` starts at ADNet's value. No term of the loss lowers it: its constant is 0 and
  unused.
- The weight of the fine map is 0.9; for setting 2 the authors note 0.6, typed by hand: `fine_weight=0.6`.
- Those of ADNet: aligned corners in one of two resizings (`align_corners=false`), empty support masks
  (`skip_empty_support=true`), the shear (`augmentation=centred`).

Different here: `--weights imagenet` loads. The names in the release's ImageNet file lack a prefix, so the
release loads none of its weights.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from baselines.qnet.refinement import REFINEMENTS, RefinementStep, refinement_steps
from fewshot.base.errors import UserError
from fewshot.encoders.foundation import two_scale_encoder
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
from fewshot.learners.logits import Branch, Features, call_logits
from fewshot.learners.prototypes import resize_maps
from fewshot.learners.recipe import Recipe

Maps = tuple[Tensor, Tensor, Tensor]  # fine (N,C,h,w), coarse (N,C,h/2,w/2), threshold (N,1,1,1)


class QNet(PrototypeLearner):
    """The query-informed network on an encoder of a fine map, a coarse map and a threshold."""

    version: ClassVar[int] = 2
    adapts = True
    class_weights = CLASS_WEIGHTS

    @dataclass(frozen=True)
    class Options:
        """The released constants and the corrections of the release's defects."""

        alpha: float = 20.0  # multiplies the cosine
        kappa: float = 0.5  # steepness of the sigmoid at the threshold
        fine_weight: float = 0.9  # weight of the probability at stride 4; the one at stride 8 has the rest
        refinement: Literal["released", "exchanged"] = "released"
        refinement_steps: int = 7
        refinement_rate: float = 0.01  # Adam's learning rate, in units of the features
        initial_threshold: float | None = None  # initial bias of the threshold; None: torch's draw
        align_corners: bool = True  # in the resizing of probabilities; false: no aligned corners anywhere
        skip_empty_support: bool = False  # true: training skips an episode without a support pixel

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
        """Return the encoder of this name with maps of stride 4 and 8 and a threshold."""
        return two_scale_encoder(name, seed)

    def encode(self, images: Tensor) -> Features:
        """Return fine map, coarse map and threshold of images (N,1,H,W); no gradient in evaluation."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.training):
            return super().encode(images)

    def logits(
        self, support_features: Maps, support_masks: Tensor, query_features: Maps, *,
        prepared: Mapping[str, Tensor], branch: Branch,
    ) -> Tensor:  # fmt: skip
        """Return log-probabilities (Q,2,H,W) of background and foreground, at the size of the masks.

        Masks (S,H,W) in both branches. Always defined. In the alignment branch the query is the support, and
        its threshold scores the support slices (QNET-6).
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
                    prototypes = self.refine(prototypes, query, cuts)
                foreground = self.foreground(prototypes, query, cuts)
                maps.append(resize_maps(foreground, size, self.options.align_corners))
            share = self.options.fine_weight
            return log_probabilities(share * maps[0] + (1 - share) * maps[1])

    def foreground(self, prototypes: Tensor, query: Tensor, thresholds: Tensor) -> Tensor:
        """Return P (Q,h,w) from one map (Q,C,h,w) and each query's prototype (Q,C) and threshold (Q,)."""
        return probabilities(
            anomaly_scores(prototypes, query, self.options.alpha), thresholds, self.options.kappa
        )

    def refine(self, prototypes: Tensor, query: Tensor, thresholds: Tensor) -> Tensor:
        """Return prototypes (Q,C), each after Adam's steps on its own query map (Q,C,h,w) (QNET-5).

        Only the prototypes get a gradient. One query at a time, since a map at stride 4 is large.
        """
        with torch.inference_mode(False), torch.enable_grad():
            each = zip(_plain(prototypes), _plain(query), _plain(thresholds), strict=True)
            return torch.stack([self._refine_one(*one) for one in each])

    def _refine_one(self, prototype: Tensor, query: Tensor, threshold: Tensor) -> Tensor:
        steps = islice(self.refinement(prototype, query, threshold), self.options.refinement_steps)
        return deque(steps, maxlen=1).pop().prototype

    def refinement(self, prototype: Tensor, query: Tensor, threshold: Tensor) -> Iterator[RefinementStep]:
        """Yield Adam's steps on a prototype (C,) for one map (C,h,w) and its threshold (), without end."""

        def predict(current: Tensor) -> Tensor:
            return self.foreground(current[None], query[None], threshold[None])[0] > 0.5

        options = self.options
        return refinement_steps(
            prototype, query, predict, rate=options.refinement_rate, kind=options.refinement
        )

    def episode_loss(
        self, support: Features, support_masks: Tensor, query: Features, query_masks: Tensor, prepared: Any
    ) -> tuple[Tensor, Tensor]:
        """Return (query loss, alignment loss) as (2,), and whether training uses the episode (QNET-4, 6)."""
        logs, _defined = call_logits(self, support, support_masks, query, prepared, "query")
        predicted = logs[:, 1] > logs[:, 0]
        back, _defined = call_logits(self, query, predicted, support, {}, "alignment")
        parts = [query_loss(logs, query_masks), alignment_loss(back, support_masks, predicted)]
        return torch.stack(parts), is_trained_on(support_masks, self.options.skip_empty_support)

    @classmethod
    def recipe(cls) -> Recipe:
        """Return the released training, with the numbers of the scripts, not of the configuration file."""
        return Recipe(steps=30_000, decay=0.98, snapshot_every=10_000, episode="supervoxel-run")


def _plain(tensor: Tensor) -> Tensor:
    """Return the values as a tensor that autograd accepts, even if inference mode made it."""
    return tensor.clone() if tensor.is_inference() else tensor.detach()
