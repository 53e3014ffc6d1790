"""Q-Net's refinement of a prototype on one query map at test time: Adam on a rebuilding loss (QNET-5).

Shen et al., IntelliSys 2023, arXiv 2208.11451. What the released loss does, and what it does not, is told in
`baselines/qnet.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

REFINEMENTS = ("released", "exchanged")
SMALLEST_SPAN = 1e-12  # of a map's values, before dividing by it


class Refined(NamedTuple):
    """One step: the 0-dim loss before it and the prototype (C,) after it."""

    loss: Tensor
    prototype: Tensor


def refinement_steps(
    prototype: Tensor, query: Tensor, predict: Callable[[Tensor], Tensor], *, rate: float, kind: str
) -> Iterator[Refined]:
    """Yield Adam's steps on a prototype (C,) for one query map (C,h,w), without end.

    `predict` returns where a prototype finds the class, (h,w) bool: constant in a step, taken anew after it.
    Nothing but the prototype gets a gradient. To be used outside inference mode and with gradients enabled.
    """
    current = prototype.clone().requires_grad_()
    optimiser = torch.optim.Adam([current], lr=rate)
    while True:
        with torch.no_grad():
            inside = predict(current)
        loss = rebuilding_loss(current, query, inside, kind)
        (current.grad,) = torch.autograd.grad(loss, current)
        optimiser.step()
        yield Refined(loss.detach(), current.detach().clone())


def rebuilding_loss(prototype: Tensor, query: Tensor, inside: Tensor, kind: str) -> Tensor:
    """Return the 0-dim loss of rebuilding a map (C,h,w) from itself and the prototype (C,).

    The rebuilt map is the prototype where `inside` (h,w) and the map itself elsewhere. Both maps are
    brought to [0, 1] by their own extremes and through a sigmoid; the loss is the mean binary
    cross-entropy, with the rebuilt map as its target ("released") or as its prediction ("exchanged").
    """
    rebuilt = torch.where(inside, prototype[:, None, None], query)
    own, new = _spanned(query), _spanned(rebuilt)
    prediction, target = (own, new) if kind == "released" else (new, own)
    return F.binary_cross_entropy_with_logits(prediction, target.sigmoid())


def _spanned(values: Tensor) -> Tensor:
    """Return the values brought to [0, 1] by their least and their largest."""
    low, high = values.amin(), values.amax()
    return (values - low) / (high - low).clamp(min=SMALLEST_SPAN)
