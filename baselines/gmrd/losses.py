"""The two losses on descriptors in GMRD's state of November 2023 (rule GMRD-8)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

OTHERS = 2  # the mean and the ring's mean: the last rows of a set of descriptors
Descriptors = tuple[Tensor, Tensor]  # of foreground and background, (n+2,C)


def intra_loss(support: Descriptors, query: Descriptors) -> Tensor:
    """Return 2 minus the agreement of support and query, foreground plus background, 0-dim."""
    return 2 - sum_of_agreements(support, query)


def sum_of_agreements(support: Descriptors, query: Descriptors) -> Tensor:
    """Return the agreement of the foregrounds plus that of the backgrounds, 0-dim."""
    foreground, background = (_agreement(one, other) for one, other in zip(support, query, strict=True))
    return foreground + background


def inter_loss(support: Descriptors, query: Descriptors) -> Tensor:
    """Return the likeness of foreground and background, at least 0, in support plus query, 0-dim."""
    return _likeness(support) + _likeness(query)


def _agreement(support: Tensor, query: Tensor) -> Tensor:
    """Return the mean over n + 2 rows: a network's row has its best cosine, each other row its pair's."""
    ours, theirs = F.normalize(support, dim=1), F.normalize(query, dim=1)
    made = (ours[:-OTHERS] @ theirs[:-OTHERS].T).amax(dim=1)
    others = (ours[-OTHERS:] * theirs[-OTHERS:]).sum(dim=1)
    return (made.sum() + others.sum()) / len(support)


def _likeness(descriptors: Descriptors) -> Tensor:
    """Return the mean cosine of all foreground with all background rows, at least 0."""
    foreground, background = (F.normalize(one, dim=1) for one in descriptors)
    return (foreground @ background.T).mean().clamp(min=0)
