"""DSPNet's explanation: seeds, detail prototypes, nearest kind of prototype, and the effect of each module.

`fewshot explain` draws it. Every number comes from the methods of `DSPNet` that `logits` itself calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from baselines.dspnet.fspa import AREA_PER_SEED, STRIDE
from fewshot.base.types import Support
from fewshot.learners.logits import predict_logit_difference
from fewshot.learners.prototypes import resize_masks
from fewshot.studies.explanation import DetailPrototypes, Explanation

if TYPE_CHECKING:
    from baselines.dspnet.model import DSPNet, PrototypeSets

VARIANTS = {  # FSPA, BCMA
    "neither": (False, False),
    "FSPA alone": (True, False),
    "BCMA alone": (False, True),
    "both": (True, True),
}
LOCAL_BACKGROUND, LOCAL_FOREGROUND, GLOBAL_FOREGROUND, GLOBAL_BACKGROUND = range(4)


def explain(learner: DSPNet, support: Support, query: Tensor) -> Explanation:
    """Return the explanation of the mask of one query slice (1,1,H,W), for the variant that the options name.

    The encoder gets support and query as one batch, as in `segment`.
    """
    shots = len(support.images)
    features = learner.encode(torch.cat([support.images, query]))
    assert isinstance(features, Tensor)
    return explain_features(learner, features[:shots], support.masks, features[shots:])


def explain_features(
    learner: DSPNet, support_features: Tensor, support_masks: Tensor, query_features: Tensor
) -> Explanation:
    """Return the explanation for features (S,C,h,w) and (1,C,h,w) and masks (S,H,W) bool.

    The variants differ only in the options `fspa` and `bcma`. They share the weights. They therefore show how
    a module changes this mask, not how training with the module changes the result.
    """
    pixels = (support_masks.shape[-2], support_masks.shape[-1])
    prepared = {k: v.to(support_masks.device) for k, v in learner.prepare(support_masks.cpu()).items()}
    masks = {}
    for name, modules in VARIANTS.items():
        variant = learner.with_modules(*modules)
        difference, _ = predict_logit_difference(
            variant, support_features, support_masks, query_features, prepared, pixels
        )
        masks[name] = difference[0] > 0
    sets = learner.prototype_sets(
        support_features, support_masks, query_features, prepared=prepared, branch="query"
    )
    options = learner.options
    details = _details(learner, support_features, support_masks, prepared)
    is_member = sets.members.any(dim=0)
    similar = learner.candidate_similarities(sets, query_features)[0]
    kinds = candidate_kinds(sets)
    names = ["local background", "local foreground"]
    names += ["semantic foreground" if options.fspa else "global foreground", "global background"]
    return Explanation(
        masks=masks,
        trained=next(name for name, modules in VARIANTS.items() if modules == (options.fspa, options.bcma)),
        nearest=kinds[similar.masked_fill(~is_member[:, None, None], -torch.inf).argmax(dim=0)],
        kinds={name: int((kinds[is_member] == kind).sum().item()) for kind, name in enumerate(names)},
        details=details,
        note=_note(support_masks, details.counts),
    )


def candidate_kinds(sets: PrototypeSets) -> Tensor:
    """Return the kind (P,) int64 of every candidate, in the order of the sets."""
    order = [LOCAL_BACKGROUND, LOCAL_FOREGROUND, GLOBAL_BACKGROUND, GLOBAL_FOREGROUND]
    lengths = [
        len(sets.background_cells), len(sets.foreground_cells), len(sets.fallback), sets.own.shape[1]
    ]  # fmt: skip
    kinds = torch.tensor(order).repeat_interleave(torch.tensor(lengths))
    return kinds.to(sets.members.device)


def _details(
    learner: DSPNet, features: Tensor, masks: Tensor, prepared: dict[str, Tensor]
) -> DetailPrototypes:
    height, width = features.shape[-2:]
    foreground = resize_masks(masks, (height, width))
    clusters = learner.clusters(features, foreground, prepared, (masks.shape[-2], masks.shape[-1]))
    return DetailPrototypes(
        seeds=prepared["seeds"],
        seeded=prepared["seeded"],
        places=clusters.places,
        weights=clusters.weights.view(*clusters.weights.shape[:2], height, width),
        counts=clusters.counts,
    )


def _note(masks: Tensor, counts: Tensor) -> str:
    """Return why the first shot has no detail prototype; "" if it has one."""
    if bool(counts[0].any()):
        return ""
    positions = int(masks[0, ::STRIDE, ::STRIDE].sum().item())
    return f"no detail prototypes: {positions} positions, expected {3 * AREA_PER_SEED // 2}"
