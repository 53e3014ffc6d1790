"""An explanation: what stands behind one mask of a method, for `fewshot explain`.

A method offers it by a method `explain(support, query)`, with the arguments of `segment` (`Explainer`).
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
    """Prototypes that grew from seeds: S shots, K of them at most, h x w positions of the feature map.

    `seeds` (S,K,2) int64, row and column on the feature map, where `seeded` (S,K) bool. `places` (S,K,2)
    float: where the prototypes lie, in rows and columns, and `weights` (S,K,h,w) float: each one's share of
    every position (a map sums to 1), where `counts` (S,K) bool.
    """

    seeds: Tensor
    seeded: Tensor
    places: Tensor
    weights: Tensor
    counts: Tensor


@dataclass(frozen=True)
class Explanation:
    """One mask of a method for one query slice of H x W pixels, taken apart.

    `answers`: name of a variant of the method, on the same weights -> mask (H,W) bool. `trained`: the variant
    that the weights were trained as. `nearest` (h,w) int64: the kind, an index of `kinds`, of the prototype
    that is nearest to a query position; None shows no such map. `kinds`: name of a kind -> its number of
    prototypes. `details`: None for a method without them. `note`: why there are none, or "".
    """

    answers: Mapping[str, Tensor]
    trained: str
    nearest: Tensor | None = None
    kinds: Mapping[str, int] = field(default_factory=dict)
    details: DetailPrototypes | None = None
    note: str = ""


class Explainer(Protocol):
    """A learner that can explain a mask."""

    def explain(self, support: Support, query: Tensor) -> Explanation:
        """Return what stands behind the mask of one query slice (1,1,H,W) float32.

        Evaluation mode, without gradients; support and query lie on the learner's device.
        """
        ...


def check_explanation(explanation: Explanation, method: str, shots: int, pixels: tuple[int, int]) -> None:
    """Raise `UserError` unless an explanation has the form that `Explanation` describes.

    Args:
        explanation: What the method's `explain` returned.
        method: The method's name, for the error.
        shots: S, the number of support slices.
        pixels: (H, W) of the query slice.
    """
    fault = _fault(explanation, shots, pixels)
    if fault is not None:
        raise UserError(f"explain of {method}: {fault}; see fewshot.explanation.Explanation")


def _fault(one: Explanation, shots: int, pixels: tuple[int, int]) -> str | None:
    if not isinstance(one, Explanation):
        return f"returned {type(one).__name__}, expected an Explanation"
    if one.trained not in one.answers:
        return f"trained is {one.trained!r}, expected one of answers: {', '.join(one.answers) or 'none'}"
    for name, mask in one.answers.items():
        if mask.dtype != torch.bool or tuple(mask.shape) != pixels:
            return f"answers[{name!r}] is {_form(mask)}, expected bool {pixels}"
    if one.nearest is not None:
        if one.nearest.dtype != torch.int64 or one.nearest.dim() != 2:
            return f"nearest is {_form(one.nearest)}, expected int64 (h, w)"
        low, high = int(one.nearest.min()), int(one.nearest.max())
        if low < 0 or high >= len(one.kinds):
            return f"nearest holds {low} to {high}, expected 0 to {len(one.kinds) - 1}, an index of kinds"
    return None if one.details is None else _details_fault(one.details, one.nearest, shots)


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
