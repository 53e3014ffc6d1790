"""Anomaly scores of ADNet and its descendants: one foreground prototype and a threshold.

Hansen et al., Medical Image Analysis 78, 2022, arXiv 2203.02048. S shots, Q query slices, C channels on an
h x w grid, H x W image size. Rule numbers (`ADNET-1`) are those of docs/methods.md.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.learners.prototypes import AREA_FLOOR, masked_average, own_similarities, spread_masks

EPSILON = torch.finfo(torch.float32).eps  # probabilities are clamped to [EPSILON, 1 - EPSILON]
CLASS_WEIGHTS = (0.1, 1.0)  # background and foreground in the query's loss


def mean_prototype(features: Tensor, masks: Tensor) -> Tensor:
    """Return the prototype (1,C) of features (S,C,h,w) in masks (S,H,W): the mean over shots (ADNET-1).

    A shot with an empty mask counts as the zero vector.
    """
    spread = spread_masks(masks, (features.shape[-2], features.shape[-1]))
    return masked_average(features, spread).mean(dim=0, keepdim=True)


def pooled_prototype(features: Tensor, masks: Tensor) -> Tensor:
    """Return the mean feature (1,C) over all pixels of masks (Q,H,W); features (Q,C,h,w) (ADNET-5)."""
    spread = spread_masks(masks, (features.shape[-2], features.shape[-1]))
    total = torch.einsum("qchw,qhw->c", features, spread)
    return (total / (spread.sum() + AREA_FLOOR))[None]


def anomaly_scores(prototypes: Tensor, query: Tensor, alpha: float) -> Tensor:
    """Return S = -alpha cos (Q,h,w) of query (Q,C,h,w) and prototypes (Q,C), or (1,C) for every query."""
    each = prototypes.expand(len(query), -1)[:, None]
    return -own_similarities(each, query, alpha)[:, 0]


def probabilities(scores: Tensor, thresholds: Tensor, kappa: float) -> Tensor:
    """Return P = 1 - sigmoid(kappa (S - T)) of scores (Q,h,w) and thresholds (Q,) or (1,) (ADNET-2)."""
    return torch.sigmoid(kappa * (thresholds[:, None, None] - scores))


def log_probabilities(values: Tensor) -> Tensor:
    """Return clamped log (1 - P) and log P, (Q,2,H,W), of P (Q,H,W); a clamped value has no gradient."""
    return torch.stack([1 - values, values], dim=1).clamp(EPSILON, 1 - EPSILON).log()


def query_loss(logs: Tensor, masks: Tensor) -> Tensor:
    """Return the weighted mean of -log P of the true class; logs (Q,2,H,W), masks (Q,H,W) (ADNET-4)."""
    return F.nll_loss(logs, masks.long(), weight=logs.new_tensor(CLASS_WEIGHTS))


def alignment_loss(logs: Tensor, masks: Tensor, predicted: Tensor) -> Tensor:
    """Return the unweighted mean of -log P over shots and pixels; 0 if the prediction is empty (ADNET-5).

    logs (S,2,H,W) of the support slices, scored by the prototype of the query's prediction; `predicted`
    (Q,h,w) bool is that prediction.
    """
    return torch.where(predicted.any(), F.nll_loss(logs, masks.long()), 0.0)


def is_trained_on(support_masks: Tensor, skip_empty: bool) -> Tensor:
    """Return whether training uses an episode with support masks (S,H,W), 0-dim bool (ADNET-6).

    True as released; with `skip_empty`, whether a support mask shows a pixel.
    """
    if skip_empty:
        return support_masks.any()
    return torch.ones((), dtype=torch.bool, device=support_masks.device)
