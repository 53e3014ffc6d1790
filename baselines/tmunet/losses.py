"""The three losses of TMUnet and the targets that follow from a mask (rules TMUNET-10 to TMUNET-12)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WEIGHTS = (0.7, 0.1, 0.2)  # masks, context, boundary
BAND = 7  # side of the square that dilates a mask, in pixels
CELL = 16  # side of a cell, in pixels


def boundary_of(masks: Tensor) -> Tensor:
    """Return the outer band, three pixels wide, of masks (N,1,H,W) float32: dilated minus mask."""
    dilated = F.max_pool2d(masks, BAND, stride=1, padding=BAND // 2)
    return dilated - masks


def weak_annotation(masks: Tensor) -> Tensor:
    """Return the foreground of each 16 x 16 cell over that of the fullest cell, row by row: (N,G*G,1).

    masks (N,1,H,W) float32. A picture without foreground has 0 everywhere.
    """
    sums = F.avg_pool2d(masks, CELL).flatten(1)
    fullest = sums.amax(dim=1, keepdim=True)
    return (sums / torch.where(fullest > 0, fullest, 1.0))[:, :, None]


def mask_loss(probabilities: Tensor, masks: Tensor, foreground_weight: float) -> Tensor:
    """Return the mean cross-entropy of each picture, (N,); foreground pixels count `foreground_weight` times.

    probabilities and masks (N,K,H,W) float32. A weight of 1 is published.
    """
    weights = 1 + (foreground_weight - 1) * masks
    return F.binary_cross_entropy(probabilities, masks, weights, reduction="none").flatten(1).mean(dim=1)


def context_loss(coefficients: Tensor, masks: Tensor) -> Tensor:
    """Return the mean squared error of the cells' coefficients of each picture, (N,).

    coefficients (N,T,1): with a class token (T = G*G + 1) cell i is compared with coefficient i, so the last
    one has no target: the published form. masks (N,1,H,W) float32.
    """
    target = weak_annotation(masks)
    return (coefficients[:, : target.shape[1]] - target).square().flatten(1).mean(dim=1)


def boundary_loss(boundary: Tensor, masks: Tensor) -> Tensor:
    """Return the mean cross-entropy of the boundary of each picture, (N,); both (N,1,H,W) float32."""
    loss = F.binary_cross_entropy(boundary, boundary_of(masks), reduction="none")
    return loss.flatten(1).mean(dim=1)
