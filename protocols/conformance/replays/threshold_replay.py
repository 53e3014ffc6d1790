"""Shared replay of RPT and GMRD: encoder outputs, losses, gradients and their tolerances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fewshot.base.types import Episode
from fewshot.learners.learner import LossResult, PrototypeLearner
from fewshot.learners.registry import resolve_method
from protocols.conformance.quantity import Quantity
from protocols.conformance.replays.replay import relative, relative_error

# Ten times the largest difference of two back-ends of the released program.
LOSSES = 1e-5
PERIPHERY = 6e-4
NORMS, HEADS = 1.5e-4, 4e-3  # gradients of a method's own layers, relative
TOTAL = 1.4e-3  # all gradients together, and those of the encoder's last layers
DEEP_NORMS, DEEP_HEADS = 1.5e-2, 1.4e-1
DEEP = ("encoder.backbone.conv1.", "encoder.backbone.layer3.")

Maps = tuple[Tensor, Tensor]


def new_learner(method: str, **options: Any) -> Any:
    """Return the method on a ResNet-101 with random weights.

    Args:
        method: a registered name.
        options: fields of the method's Options.
    """
    learner: type[PrototypeLearner] = resolve_method(method)
    return learner(learner.new_encoder("resnet101", 0), learner.Options(**options))


def encode_episode(learner: Any, episode: Episode) -> tuple[Maps, Maps]:
    """Return the maps of the support shots and of the query, encoded as one batch."""
    images = torch.cat([episode.support_images[0], episode.query_images[0]])
    fine, thresholds = learner.encode(images)
    shots = episode.support_images.shape[1]
    return (fine[:shots], thresholds[:shots]), (fine[shots:], thresholds[shots:])


def check_thresholds(prefix: str, maps: tuple[Maps, Maps], expected: Sequence[float]) -> Quantity:
    """Return the largest error of the thresholds; the query's is the last, here and in the file."""
    thresholds = torch.cat([maps[0][1], maps[1][1]]).flatten()
    error = max(abs(a - b) for a, b in zip(thresholds.tolist(), expected, strict=True))
    return Quantity(prefix, error, 1e-4)


def check_losses(
    prefix: str, result: LossResult, expected: Mapping[str, float], keys: Mapping[str, str]
) -> Iterator[Quantity]:
    """Yield the parts of a loss; `keys`: part -> name in the file. The error of an expected 0 is absolute."""
    for part, key in {**keys, "total": "total_loss"}.items():
        value = (result.total if part == "total" else result.parts[part]).item()
        error = relative(value, expected[key]) if expected[key] else abs(value)
        yield Quantity(f"{prefix}/{key}", error, PERIPHERY if part == "periphery" else LOSSES)


def check_gradients(prefix: str, learner: nn.Module, expected: Mapping[str, Any]) -> Iterator[Quantity]:
    """Yield norms and first entries of the gradients, and the number of wrong or missing ones."""
    gradients = {name: value.grad for name, value in learner.named_parameters() if value.grad is not None}
    for name, norm in expected["grad_norm"].items():
        tolerances = _tolerances(name)
        head = gradients[name].flatten()[:8]
        yield Quantity(
            f"{prefix}/grad_norm/{name}", relative(gradients[name].norm().item(), norm), tolerances[0]
        )
        recorded = expected["grad_head"][name]
        error = relative_error(head, recorded) if any(recorded) else float(head.abs().max())
        yield Quantity(f"{prefix}/grad_head/{name}", error, tolerances[1])
    total = torch.stack([gradient.norm() for gradient in gradients.values()]).norm().item()
    yield Quantity(f"{prefix}/grad_norm_total", relative(total, expected["grad_norm_total"]), TOTAL)
    if "no_gradient" in expected:
        without = tuple(expected["no_gradient"])
        wrong = [
            name
            for name, _ in learner.named_parameters()
            if (name in gradients) == name.startswith(without or ("-",))
        ]
        yield Quantity(f"{prefix}/no_gradient", len(wrong), 0)


def check_mask(name: str, mask: Tensor, expected: Any, tolerance: float) -> Quantity:
    """Return the share of pixels that differ from a recorded mask of 0 and 1."""
    return Quantity(name, float((mask.numpy() != (expected > 0)).mean()), tolerance)


def _tolerances(name: str) -> tuple[float, float]:
    if name.startswith(DEEP):
        return DEEP_NORMS, DEEP_HEADS
    return (TOTAL, 10 * TOTAL) if name.startswith("encoder.") else (NORMS, HEADS)
