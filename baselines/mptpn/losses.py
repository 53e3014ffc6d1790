"""The losses of MPTPN: balanced cross-entropy and Dice with half weights (rules MPTPN-8 and MPTPN-9)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

SMOOTH = 1e-5
GUARD = 1e-12


def cross_entropy(probabilities: Tensor, masks: Tensor) -> Tensor:
    """Return half the mean over foreground pixels plus half the mean over background pixels, 0-dim.

    probabilities and masks (N,K,H,W) float32; the pixels of the whole batch count together.
    """
    each = F.binary_cross_entropy(probabilities, masks, reduction="none")
    front, back = masks, 1 - masks
    return 0.5 * (front * each).sum() / (front.sum() + GUARD) + 0.5 * (back * each).sum() / (
        back.sum() + GUARD
    )


def dice_loss(probabilities: Tensor, masks: Tensor) -> Tensor:
    """Return 1 - (2 p t + s) / (p^2 + t^2 + s) with p and t halved, mean over pictures and classes, 0-dim."""
    p, t = 0.5 * probabilities.flatten(2), 0.5 * masks.flatten(2)
    overlap = 2 * (p * t).sum(dim=2) + SMOOTH
    return (1 - overlap / (p.square().sum(dim=2) + t.square().sum(dim=2) + SMOOTH)).mean()
