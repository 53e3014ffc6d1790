"""Losses of I-MMSeg: cross-entropy with Dice, and a contrast of pixels with each other and with sentences.

Rules IMMSEG-8 and IMMSEG-9 of docs/immseg.md. N slices, K classes with background.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 0.07
MOST_ANCHORS = (10, 20, 50)  # of a slice and class, at strides 8, 4 and 2
BACKGROUND_WEIGHT = 0.5  # of class 0 in Dice; 1 for the others
SMOOTH = 1e-5


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the weighted mean over classes of 1 - Dice, pooled over the batch, with squared denominators.

    Args:
        logits: (N,K,H,W).
        target: classes (N,H,W) int64.
    """
    found = logits.softmax(dim=1)
    true = F.one_hot(target, logits.shape[1]).movedim(-1, 1).to(found.dtype)
    axes = (0, 2, 3)
    overlap = (found * true).sum(axes)
    size = (found * found).sum(axes) + true.sum(axes)
    each = 1 - (2 * overlap + SMOOTH) / (size + SMOOTH)
    weights = torch.ones_like(each)
    weights[0] = BACKGROUND_WEIGHT
    return (weights * each).sum() / len(each)


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return 0.2 cross-entropy + 0.8 Dice loss; arguments as `dice_loss`."""
    return 0.2 * F.cross_entropy(logits, target) + 0.8 * dice_loss(logits, target)


def contrast(vectors: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over rows of the mean over its positives of log(1 + negatives / positive).

    Each pair has its own denominator: its likeness and those of all negatives of the row.

    Args:
        vectors: (R,D), scaled here to length 1.
        labels: (R,) class of each row.
    """
    unit = F.normalize(vectors, dim=-1)
    likeness = unit @ unit.T / TEMPERATURE
    likeness = likeness - likeness.amax(dim=1, keepdim=True).detach()
    same = labels[:, None] == labels[None]
    negatives = torch.where(same, 0.0, likeness.exp()).sum(dim=1, keepdim=True)
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    pairs = torch.log(likeness.exp() + negatives) - likeness
    each = torch.where(positive, pairs, 0.0).sum(dim=1) / (positive.sum(dim=1) + 1e-5)
    return each.mean()


def class_labels(rows: int, classes: int) -> Tensor:
    """Return the class of each row of class sentences; the rows are whole blocks of one row a class."""
    return torch.arange(classes).repeat(rows // classes)


def anchors(
    embedding: Tensor, target: Tensor, ignored: frozenset[int], most: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return up to `most` vectors of each slice and class, (R,D), and their classes (R,).

    Args:
        embedding: (N,D,h,w).
        target: classes (N,H,W), resized to h x w by the nearest pixel.
        ignored: classes without anchors.
        most: largest number of anchors of a slice and class.
        generator: on the CPU, draws pixels where there are more.
    """
    small = (
        F.interpolate(target[:, None].float(), size=embedding.shape[-2:], mode="nearest")[:, 0].long().cpu()
    )
    rows, labels = [], []
    for picture, classes in zip(embedding.flatten(2), small.flatten(1), strict=True):
        for value in classes.unique().tolist():
            if value in ignored:
                continue
            places = torch.nonzero(classes == value)[:, 0]
            places = places[torch.randperm(len(places), generator=generator)[:most]]
            rows.append(picture[:, places.to(picture.device)].T)
            labels.append(torch.full((len(places),), value))
    if not rows:
        return embedding.new_zeros(0, embedding.shape[1]), torch.zeros(0, dtype=torch.long)
    return torch.cat(rows), torch.cat(labels)
