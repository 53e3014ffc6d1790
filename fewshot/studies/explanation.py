"""The explanation of one mask: variants, prototypes and their places, for `fewshot explain`.

A learner offers it with a method `explain(support, query)`, which takes the arguments of `segment`
(`Explainer`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from fewshot.base.errors import UserError
from fewshot.base.types import Support


@dataclass(frozen=True)
class DetailPrototypes:
    """Prototypes grown from seeds: S shots, at most K prototypes each, h x w positions of the feature map.

    Attributes:
        seeds: (S,K,2) int64, row and column of each seed on the feature map.
        seeded: (S,K) bool, which seeds exist.
        places: (S,K,2) float, row and column of each prototype.
        weights: (S,K,h,w) float, the weight of every position in a prototype; each map sums to 1.
        counts: (S,K) bool, which prototypes exist.
    """

    seeds: Tensor
    seeded: Tensor
    places: Tensor
    weights: Tensor
    counts: Tensor


@dataclass(frozen=True)
class Explanation:
    """The explanation of one mask for one query slice of H x W pixels.

    Attributes:
        masks: name of a variant of the method, with the same weights -> its mask (H,W) bool.
        trained: the variant that the weights were trained as.
        nearest: (h,w) int64, the kind of the prototype nearest to each query position, an index of `kinds`;
            None draws no map.
        kinds: name of a kind -> its number of prototypes.
        details: the detail prototypes; None for a method without them.
        note: why no detail prototype exists, or "".
    """

    masks: Mapping[str, Tensor]
    trained: str
    nearest: Tensor | None = None
    kinds: Mapping[str, int] = field(default_factory=dict)
    details: DetailPrototypes | None = None
    note: str = ""


class Explainer(Protocol):
    """A learner that can explain a mask."""

    def explain(self, support: Support, query: Tensor) -> Explanation:
        """Return the explanation of the mask of one query slice (1,1,H,W) float32.

        `fewshot explain` calls it in evaluation mode, without gradients; support and query lie on the
        learner's device.
        """
        ...


def check_explanation(explanation: Explanation, method: str, shots: int, pixels: tuple[int, int]) -> None:
    """Raise `UserError` unless an explanation has the form that `Explanation` describes.

    Args:
        explanation: the result of the method's `explain`.
        method: the method's name, for the error.
        shots: S, the number of support slices.
        pixels: (H, W) of the query slice.
    """
    fault = _fault(explanation, shots, pixels)
    if fault is not None:
        raise UserError(f"explain of {method}: {fault}; see fewshot.explanation.Explanation")


def _fault(explanation: Explanation, shots: int, pixels: tuple[int, int]) -> str | None:
    if not isinstance(explanation, Explanation):
        return f"returned {type(explanation).__name__}, expected an Explanation"
    masks, nearest, kinds = explanation.masks, explanation.nearest, explanation.kinds
    if explanation.trained not in masks:
        return f"trained is {explanation.trained!r}, expected one of masks: {', '.join(masks) or 'none'}"
    for name, mask in masks.items():
        if mask.dtype != torch.bool or tuple(mask.shape) != pixels:
            return f"masks[{name!r}] is {_form(mask)}, expected bool {pixels}"
    if nearest is not None:
        if nearest.dtype != torch.int64 or nearest.dim() != 2:
            return f"nearest is {_form(nearest)}, expected int64 (h, w)"
        low, high = int(nearest.min()), int(nearest.max())
        if low < 0 or high >= len(kinds):
            return f"nearest holds {low} to {high}, expected 0 to {len(kinds) - 1}, an index of kinds"
    return None if explanation.details is None else _details_fault(explanation.details, nearest, shots)


def _details_fault(details: DetailPrototypes, nearest: Tensor | None, shots: int) -> str | None:
    if details.weights.dim() != 4 or len(details.weights) != shots:
        return f"details.weights is {_form(details.weights)}, expected ({shots}, K, h, w)"
    several, grid = details.weights.shape[1], tuple(details.weights.shape[2:])
    if nearest is not None and tuple(nearest.shape) != grid:
        return f"details.weights has maps of {grid}, expected those of nearest, {tuple(nearest.shape)}"
    shapes: dict[str, tuple[int, ...]] = {"seeds": (shots, several, 2), "places": (shots, several, 2)}
    shapes |= {"seeded": (shots, several), "counts": (shots, several)}
    for name, shape in shapes.items():
        value: Tensor = getattr(details, name)
        if tuple(value.shape) != shape:
            return f"details.{name} is {_form(value)}, expected {shape}"
    return None


def _form(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
