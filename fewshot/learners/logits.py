"""Calls of a prototype learner's `logits`: scores in float32 and the logit difference at the slice's size.

S support shots, Q query slices, C features on an h x w grid, H x W image size in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.base.errors import UserError
from fewshot.base.precision import in_float32

if TYPE_CHECKING:
    from fewshot.learners.learner import PrototypeLearner

Branch = Literal["query", "alignment"]
Features = Tensor | tuple[Tensor, ...]  # one map (N,C,h,w), or several of them for the same N images


def predict_logit_difference(
    learner: PrototypeLearner,
    support_features: Features,
    support_masks: Tensor,
    query_features: Features,
    prepared: Mapping[str, Tensor],
    size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Return the foreground logit minus the background logit at the size of the slice.

    Evaluation and `segment` share this function. The mask is > 0: the argmax of the two upsampled logits,
    and a probability above 0.5.

    Args:
        learner: the learner, in evaluation mode.
        support_features: S maps, as `encode` returns them.
        support_masks: (S,H,W) bool.
        query_features: Q maps, as `encode` returns them.
        prepared: the tensors of the learner's `prepare` for the support masks.
        size: (H, W) of the slice.

    Returns:
        The difference (Q,H,W) float32, and `defined`, 0-dim bool.
    """
    scores, defined = call_logits(learner, support_features, support_masks, query_features, prepared, "query")
    return logit_difference(scores, size), defined


def logit_difference(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Return foreground minus background of logits (Q,2,h,w), resized bilinearly to `size` (Q,H,W)."""
    difference = scores[:, 1:] - scores[:, :1]
    return F.interpolate(difference, size=size, mode="bilinear", align_corners=False)[:, 0]


def call_logits(
    learner: PrototypeLearner,
    support_features: Features,
    support_masks: Tensor,
    query_features: Features,
    prepared: Mapping[str, Tensor],
    branch: Branch,
) -> tuple[Tensor, Tensor]:
    """Call `learner.logits` in either accepted form; return scores (Q,2,h,w) and 0-dim bool `defined`.

    The comparison of features runs in float32, whatever the encoder's precision. The arguments are those of
    `PrototypeLearner.logits`.

    Raises:
        UserError: `logits` returned scores of another shape, or no tensor.
    """
    support = as_given([level.float() for level in as_tuple(support_features)])
    query = as_given([level.float() for level in as_tuple(query_features)])
    context = {"prepared": prepared, "branch": branch} if learner.takes_context else {}
    with in_float32(support_masks.device):
        result: Any = learner.logits(support, support_masks, query, **context)  # type: ignore[arg-type]
    if isinstance(result, tuple):
        scores, defined = result
        return _check_scores(learner, scores, len(as_tuple(query)[0])), defined.all()
    scores = _check_scores(learner, result, len(as_tuple(query)[0]))
    return scores, torch.ones((), dtype=torch.bool, device=scores.device)


def _check_scores(learner: PrototypeLearner, scores: Any, slices: int) -> Tensor:
    """Return the scores of `logits`; raise `UserError` if they are not (Q,2,h,w)."""
    if isinstance(scores, Tensor) and scores.ndim == 4 and scores.shape[:2] == (slices, 2):
        return scores
    found = f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else f"a {type(scores).__name__}"
    raise UserError(
        f"{type(learner).__name__}.logits returned {found} for {slices} query slices, expected scores "
        f"({slices},2,h,w): background first, then foreground"
    )


def resize_scores(scores: Tensor, masks: Tensor) -> Tensor:
    """Return scores (N,K,h,w) resized bilinearly to the size of masks (N,H,W)."""
    return F.interpolate(scores, size=masks.shape[-2:], mode="bilinear", align_corners=False)


def as_tuple(features: Features) -> tuple[Tensor, ...]:
    """Return features as a tuple of maps; a single map becomes a tuple of one."""
    return (features,) if isinstance(features, Tensor) else tuple(features)


def as_given(maps: list[Tensor]) -> Features:
    """Undo `as_tuple`: return a single map as it is, several as a tuple."""
    return maps[0] if len(maps) == 1 else tuple(maps)
