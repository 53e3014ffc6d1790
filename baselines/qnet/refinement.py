"""Q-Net's refinement of a prototype on one query map at test time: Adam on a rebuilding loss (QNET-5).

Shen et al., IntelliSys 2023, arXiv 2208.11451. `baselines/qnet/model.py` describes the effect of the
released loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

REFINEMENTS = ("released", "exchanged")
SMALLEST_SPAN = 1e-12  # the least range of a map's values, which divides them


class RefinementStep(NamedTuple):
    """One step: the loss before it (0-dim) and the prototype after it (C,)."""

    loss: Tensor
    prototype: Tensor


def refinement_steps(
    prototype: Tensor, query: Tensor, predict: Callable[[Tensor], Tensor], *, rate: float, kind: str
) -> Iterator[RefinementStep]:
    """Yield Adam's steps on a prototype for one query map, without end.

    Only the prototype gets a gradient. Call it outside inference mode and with gradients enabled.

    Args:
        prototype: (C,).
        query: (C,h,w).
        predict: returns the mask (h,w) bool that a prototype predicts; it is called once per step.
        rate: Adam's learning rate, in units of the features.
        kind: one of `REFINEMENTS`; see `rebuilding_loss`.
    """
    current = prototype.clone().requires_grad_()
    optimiser = torch.optim.Adam([current], lr=rate)
    while True:
        with torch.no_grad():
            inside = predict(current)
        loss = rebuilding_loss(current, query, inside, kind)
        (current.grad,) = torch.autograd.grad(loss, current)
        optimiser.step()
        yield RefinementStep(loss.detach(), current.detach().clone())


def rebuilding_loss(prototype: Tensor, query: Tensor, inside: Tensor, kind: str) -> Tensor:
    """Return the 0-dim loss of rebuilding a map (C,h,w) from itself and the prototype (C,).

    The rebuilt map is the prototype inside `inside` (h,w) bool and the map itself outside. Each map is scaled
    to [0, 1] by its own extremes and passes a sigmoid. The loss is the mean binary cross-entropy, with the
    rebuilt map as its target (`kind` "released") or as its prediction ("exchanged").
    """
    rebuilt = torch.where(inside, prototype[:, None, None], query)
    original, new = _scale_to_unit(query), _scale_to_unit(rebuilt)
    prediction, target = (original, new) if kind == "released" else (new, original)
    return F.binary_cross_entropy_with_logits(prediction, target.sigmoid())


def _scale_to_unit(values: Tensor) -> Tensor:
    """Return the values scaled to [0, 1] by their least and largest."""
    low, high = values.amin(), values.amax()
    return (values - low) / (high - low).clamp(min=SMALLEST_SPAN)
