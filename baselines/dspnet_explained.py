"""A look into DSPNet: seeds, detail prototypes, what each query position is like, and each module's part.

For `fewshot explain`; nothing here answers a question of a protocol. It stands beside `dspnet.py` because a
model's key holds that file's hash, and a picture must not make a training stale.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from baselines.dspnet import DSPNet
from fewshot.insight import Insight
from fewshot.learner import answer
from fewshot.prototypes import (
    masked_average,
    own_similarities,
    pooled_cells,
    resize_masks,
    set_scores,
    similarities,
)
from fewshot.semantic import AREA_PER_SEED, STRIDE, soft_clusters

VARIANTS = {  # FSPA, BCMA
    "neither": (False, False),
    "FSPA alone": (True, False),
    "BCMA alone": (False, True),
    "both": (True, True),
}
LOCAL_BACKGROUND, LOCAL_FOREGROUND, GLOBAL_FOREGROUND, GLOBAL_BACKGROUND = range(4)


def explain(
    learner: DSPNet, support_features: Tensor, support_masks: Tensor, query_features: Tensor
) -> Insight:
    """Return the insight into the answer to one query slice, of the variant that the options name.

    Features (S,C,h,w) and (1,C,h,w), masks (S,H,W) bool. The variants differ in the options `fspa` and `bcma`
    alone: they share the weights, so they show what a module does to this answer, not what training with it
    is worth.
    """
    prepared = {k: v.to(support_masks.device) for k, v in learner.prepare(support_masks.cpu()).items()}
    height, width = support_features.shape[-2:]
    clusters = soft_clusters(support_features, resize_masks(support_masks, (height, width)), prepared)
    sets = DSPNetSets(learner).sets(support_features, support_masks, query_features, prepared)
    of_a_class = sets.members.any(dim=0)
    similar = sets.distances.masked_fill(~of_a_class[None, :, None, None], -torch.inf)
    options, size = learner.options, (support_masks.shape[-2], support_masks.shape[-1])
    answers = {}
    for name, modules in VARIANTS.items():
        variant = DSPNetSets(learner, modules)
        difference, _ = answer(variant, support_features, support_masks, query_features, prepared, size)
        answers[name] = difference[0] > 0
    kinds = ["local background", "local foreground"]
    kinds += ["semantic foreground" if options.fspa else "global foreground", "global background"]
    return Insight(
        seeds=prepared["seeds"],
        seeded=prepared["seeded"],
        places=clusters.places,
        weights=clusters.weights.view(*clusters.weights.shape[:2], height, width),
        counts=clusters.counts,
        note=_note(support_masks, clusters.counts),
        nearest=sets.kinds[similar[0].argmax(dim=0)],
        kinds={name: int((sets.kinds[of_a_class] == kind).sum().item()) for kind, name in enumerate(kinds)},
        answers=answers,
        trained=next(name for name, on in VARIANTS.items() if on == (options.fspa, options.bcma)),
    )


def _note(masks: Tensor, counts: Tensor) -> str:
    """Say why the first shot has no detail prototype; empty where it has some."""
    if bool(counts[0].any()):
        return ""
    shown = int(masks[0, ::STRIDE, ::STRIDE].sum().item())
    return f"no detail prototypes: {shown} positions, wanted {3 * AREA_PER_SEED // 2}"


@dataclasses.dataclass(frozen=True)
class Sets:
    """Candidates P of both classes: similarity `distances` (Q,P,h,w), `members` (2,P) bool, `kinds` (P,)."""

    distances: Tensor
    members: Tensor
    kinds: Tensor

    def scores(self, scale: float) -> Tensor:
        """Return the scores (Q,2,h,w) that DSPNet makes of the sets."""
        return set_scores(self.distances, self.members.float(), scale)


class DSPNetSets(DSPNet):
    """A trained DSPNet, its weights shared, that shows the sets its scores are made of."""

    def __init__(self, learner: DSPNet, modules: tuple[bool, bool] | None = None) -> None:
        options = learner.options
        fspa, bcma = modules or (options.fspa, options.bcma)
        super().__init__(learner.encoder, dataclasses.replace(options, fspa=fspa, bcma=bcma))
        self.cls_unit = learner.cls_unit
        self.training = False

    def sets(
        self, support_features: Tensor, support_masks: Tensor, query_features: Tensor,
        prepared: Mapping[str, Tensor],
    ) -> Sets:  # fmt: skip
        """Return candidates and members as `logits` takes them in its query branch, with their kinds."""
        options = self.options
        size = (support_features.shape[-2], support_features.shape[-1])
        foreground = resize_masks(support_masks, size)
        background = 1.0 - foreground
        window = self._window(size, "query")
        background_cells, foreground_cells = self._cells(support_features, window)
        fallback = masked_average(support_features, background).mean(dim=0, keepdim=True)
        semantic = self._semantic(support_features, support_masks, query_features, prepared, "query")
        own = torch.cat([semantic, semantic.mean(dim=1, keepdim=True)], dim=1)
        shared = torch.cat([background_cells, foreground_cells, fallback])
        distances = torch.cat(
            [
                similarities(shared, query_features, options.scale),
                own_similarities(own, query_features, options.scale),
            ],
            dim=1,
        )
        is_background = pooled_cells(background[:, None], window)[:, 0] > options.threshold
        is_foreground = pooled_cells(foreground[:, None], window)[:, 0] > options.threshold
        local, cells, shots = self._large_enough(foreground), len(is_background), len(support_features)
        members = torch.zeros(2, distances.shape[1], dtype=torch.bool, device=distances.device)
        members[0, :cells] = is_background
        members[0, 2 * cells] = ~is_background.any()
        members[1, cells : 2 * cells] = is_foreground & local
        members[1, -shots - 1 : -1] = local
        members[1, -1] = ~local
        order = [LOCAL_BACKGROUND, LOCAL_FOREGROUND, GLOBAL_BACKGROUND, GLOBAL_FOREGROUND]
        kinds = torch.tensor(order).repeat_interleave(torch.tensor([cells, cells, 1, shots + 1]))
        return Sets(distances, members, kinds.to(distances.device))
