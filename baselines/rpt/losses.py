"""The losses of RPT and GMRD: clamped log-likelihoods of probabilities; RPT's losses of 2023."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1.1920929e-07  # float32's epsilon; probabilities are clamped to [EPSILON, 1 - EPSILON]
Variant = Literal["released", "2023"]

ROUND = 5000  # steps after which the weight of the dice loss of 2023 falls by 0.01
AREA_FLOOR = 1e-7  # added to the boundary loss's denominators


def loss_weights(variant: Variant, steps: int) -> dict[str, float]:
    """Return the weight of each part of RPT's loss after `steps` steps (rules RPT-9 and RPT-13)."""
    if variant == "released":
        return {"query": 1.0, "periphery": 0.1, "alignment": 1.0, "distance": 0.1, "self": 1.0}
    eta = max(0.0, 1.0 - (steps // ROUND) / 100)
    return {"query": 1.0, "boundary": 1.0 - eta, "dice": eta}


def log_pair(probabilities: Tensor) -> Tensor:
    """Return clamped logarithms (N,2,H,W) of 1 - P and P for P (N,H,W); a clamped value has no gradient."""
    pair = torch.stack([1 - probabilities, probabilities], dim=1)
    return pair.clamp(EPSILON, 1 - EPSILON).log()


def likelihood_loss(
    probabilities: Tensor, masks: Tensor, class_weights: tuple[float, float] | None = None
) -> Tensor:
    """Return the negative log-likelihood of masks, 0-dim.

    Args:
        probabilities: (N,H,W) float32, of the foreground.
        masks: (N,H,W) bool.
        class_weights: of background and foreground; the loss is divided by their sum over pixels. None: an
            unweighted mean over pixels.
    """
    scores = log_pair(probabilities)
    weights = None if class_weights is None else scores.new_tensor(class_weights)
    return F.nll_loss(scores, masks.long(), weight=weights)


def dilate(masks: Tensor, times: int = 1) -> Tensor:
    """Return masks or weights (N,H,W) float32 dilated `times` times by a square of 3 x 3 pixels."""
    for _ in range(times):
        masks = F.max_pool2d(masks[:, None], 3, stride=1, padding=1)[:, 0]
    return masks


def boundary_loss(probabilities: Tensor, masks: Tensor, squash: bool) -> Tensor:
    """Return 1 - F1 of the boundaries, mean over both classes (rule RPT-12), 0-dim.

    Args:
        probabilities: (1,H,W) float32, of the foreground.
        masks: (1,H,W) bool.
        squash: True applies a softmax to the pair of probabilities first, as the release does.
    """
    pair = torch.cat([1 - probabilities, probabilities])
    pair = pair.softmax(dim=0) if squash else pair
    labels = torch.cat([~masks, masks]).float()
    inner, wide = _boundaries(pair)
    true_inner, true_wide = _boundaries(labels)
    precision = (inner * true_wide).sum(dim=(1, 2)) / (inner.sum(dim=(1, 2)) + AREA_FLOOR)
    recall = (wide * true_inner).sum(dim=(1, 2)) / (true_inner.sum(dim=(1, 2)) + AREA_FLOOR)
    return (1 - 2 * precision * recall / (precision + recall + AREA_FLOOR)).mean()


def _boundaries(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the boundary (N,H,W) of soft masks, and its maximum over 5 x 5 pixels."""
    outside = 1 - maps
    inner = dilate(outside) - outside
    return inner, F.max_pool2d(inner[:, None], 5, stride=1, padding=2)[:, 0]


def dice_loss(probabilities: Tensor, masks: Tensor, squash: bool) -> Tensor:
    """Return 1 - soft Dice, 0-dim, with 1 added to numerator and denominator.

    Args:
        probabilities: (N,H,W) float32, of the foreground.
        masks: (N,H,W) bool.
        squash: True applies a sigmoid to the probabilities first, as the release does.
    """
    values = probabilities.sigmoid() if squash else probabilities
    labels = masks.float()
    return 1 - (2 * (values * labels).sum() + 1) / (values.sum() + labels.sum() + 1)
