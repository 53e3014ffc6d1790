"""Replay of the reference vectors of the released ADNet: evaluation, training and a short trajectory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewshot.encoders.checkpoints import UNUSED_PARAMETERS
from fewshot.learners.anomaly import anomaly_scores, mean_prototype, pooled_prototype
from fewshot.learners.learner import LossResult, PrototypeLearner, encoder_for
from fewshot.learners.logits import predict_logit_difference
from fewshot.learners.registry import resolve_method
from protocols.conformance.quantity import Quantity
from protocols.conformance.replays.replay import (
    ARRAYS,
    PIXELS,
    PROBABILITIES,
    check_gradients,
    episode_names,
    largest_error,
    loss_quantity,
    read_episode,
    read_vectors,
    relative,
)
from protocols.conformance.replays.weights import made_by_name

Vectors = Mapping[str, NDArray[Any]]
CELLS = 1  # of the hard alignment mask at h x w that may differ
STEPS = 3  # of the trajectory that are compared
QUERY, ALIGNMENT, THRESHOLD = 1e-2, 5e-2, 1e-5  # of the trajectory: relative, relative, absolute


def check(folder: Path) -> Iterator[Quantity]:
    """Yield every quantity of an `adnet` folder."""
    expected, vectors = read_vectors(folder)
    learner = build_reference("adnet")
    parameters = sum(p.numel() for p in learner.parameters()) + UNUSED_PARAMETERS
    yield Quantity(f"{folder.name}/parameters", abs(parameters - expected["parameters"]), 0)
    for name in episode_names(vectors):
        if f"{name}/mask_eval" in vectors:
            set_entry(learner, "t", expected["t_eval"])
            yield from check_evaluation(learner, name, vectors, folder.name)
    for name in episode_names(vectors):
        if name in expected:
            yield from check_training(learner, name, vectors, expected[name], folder.name)
    yield from check_trajectory(expected, vectors, folder.name)


def build_reference(method: str, options: Any = None) -> PrototypeLearner:
    """Return a method on its own ResNet-101 with made-by-name weights."""
    cls = resolve_method(method)
    learner: PrototypeLearner = cls(encoder_for(cls, "resnet101", 0), options)
    learner.load_state_dict(made_by_name({k: tuple(v.shape) for k, v in learner.state_dict().items()}))
    return learner


def set_entry(learner: PrototypeLearner, name: str, value: float) -> None:
    """Set an entry (1,) of the learner's state to the number in the vectors."""
    learner.state_dict()[name].fill_(value)


def check_evaluation(learner: Any, name: str, vectors: Vectors, family: str) -> Iterator[Quantity]:
    """Yield the evaluation quantities of one episode; the learner's `t` must be that of the vectors."""
    learner.eval()
    episode = read_episode(vectors, name)
    masks = episode.support_masks[0]
    with torch.inference_mode():
        features = learner.encode(torch.cat([episode.support_images[0], episode.query_images[0]]))
        assert isinstance(features, Tensor)
        support, query = features[: len(masks)], features[len(masks) :]
        prototype = mean_prototype(support, masks)
        arrays = {
            "features_eval": features[:, ::32, ::4, ::4],
            "prototype_eval": prototype[0],
            "anomaly_eval": anomaly_scores(prototype, query, learner.options.alpha),
        }
        odds, _defined = predict_logit_difference(
            learner, support, masks, query, {}, (masks.shape[-2], masks.shape[-1])
        )
    for key, found in arrays.items():
        yield array_quantity(f"{family}/{name}/{key}", found, vectors[f"{name}/{key}"], ARRAYS)
    wanted = vectors[f"{name}/prob_eval"]
    yield array_quantity(f"{family}/{name}/prob_eval", odds.sigmoid()[:, ::4, ::4], wanted, PROBABILITIES)
    yield mask_quantity(f"{family}/{name}/mask_eval", odds > 0, vectors[f"{name}/mask_eval"])


class Step(NamedTuple):
    """One training step's forward pass: the loss, and the encoder's output as the learner saw it."""

    result: LossResult
    features: Any


def training_step(learner: PrototypeLearner, name: str, vectors: Vectors) -> Step:
    """Return the loss of an episode in training mode, after clearing the gradients."""
    seen: list[Any] = []
    hook = learner.encoder.register_forward_hook(lambda _module, _images, output: seen.append(output))
    learner.train().zero_grad(set_to_none=True)
    try:
        result = learner.loss(read_episode(vectors, name))
    finally:
        hook.remove()
    return Step(result, seen[0])


def check_training(
    learner: Any, name: str, vectors: Vectors, expected: Mapping[str, Any], family: str
) -> Iterator[Quantity]:
    """Yield the quantities of one training step from made-by-name weights and statistics."""
    learner.load_state_dict(made_by_name({k: tuple(v.shape) for k, v in learner.state_dict().items()}))
    set_entry(learner, "t", expected["t"])
    step, prefix = training_step(learner, name, vectors), f"{family}/{name}"
    statistics = learner.state_dict()["encoder.backbone.bn1.running_mean"][:8]
    wanted = np.array(expected["bn1_running_mean_head"])
    yield Quantity(f"{prefix}/bn1_running_mean_head", largest_error(statistics, wanted), ARRAYS)
    yield from step_quantities(learner, step, expected, prefix)
    masks = read_episode(vectors, name).support_masks[0]
    support, query = step.features.detach().split([len(masks), 1])
    prototype = mean_prototype(support, masks)
    scores = anomaly_scores(prototype, query, learner.options.alpha)[0]
    with torch.no_grad():
        logs = learner.logits(support, masks, query, prepared={}, branch="query")
        cells = 0.5 * (learner.state_dict()["t"] - scores) > 0
    for key, found, tolerance in (
        ("prototype_train", prototype[0], ARRAYS),
        ("anomaly_train", scores, ARRAYS),
        ("prob_train", foreground(logs)[:, ::4, ::4], PROBABILITIES),
    ):
        yield array_quantity(f"{prefix}/{key}", found, vectors[f"{name}/{key}"], tolerance)
    differing = cells.numpy() != vectors[f"{name}/align_mask"].astype(bool)
    yield Quantity(f"{prefix}/align_mask", float(differing.sum()), CELLS)
    if f"{name}/align_prototype" in vectors:
        found = pooled_prototype(query, cells[None])[0]
        yield array_quantity(f"{prefix}/align_prototype", found, vectors[f"{name}/align_prototype"], ARRAYS)


def step_quantities(
    learner: PrototypeLearner, step: Step, expected: Mapping[str, Any], prefix: str
) -> Iterator[Quantity]:
    """Yield whether the step was skipped, its losses and its gradients."""
    yield Quantity(f"{prefix}/skipped", float(step.result.skipped), 0)
    keys = {"query": "query_loss", "alignment": "align_loss", "threshold": "threshold_loss"}
    for part, value in step.result.parts.items():
        yield loss_quantity(f"{prefix}/{keys[part]}", value.item(), expected[keys[part]])
    yield loss_quantity(f"{prefix}/total_loss", step.result.total.item(), expected["total_loss"])
    step.result.total.backward()  # type: ignore[no-untyped-call]
    yield from check_gradients(learner, expected, prefix)


def check_trajectory(expected: Mapping[str, Any], vectors: Vectors, family: str) -> Iterator[Quantity]:
    """Yield the losses and t before each of the first optimiser steps."""
    learner, recorded = build_reference("adnet"), expected["trajectory"]
    set_entry(learner, "t", expected["t_train"])
    for number, result in enumerate(steps(learner, recorded["episodes"][:STEPS], vectors)):
        prefix = f"{family}/trajectory/{number}"
        for part, key, tolerance in (
            ("query", "query_loss", QUERY),
            ("alignment", "align_loss", ALIGNMENT),
        ):
            error = relative(result.parts[part].item(), recorded[key][number])
            yield Quantity(f"{prefix}/{key}", error, tolerance)
        error = abs(learner.state_dict()["t"].item() - recorded["t"][number])
        yield Quantity(f"{prefix}/t", error, THRESHOLD)


def steps(learner: PrototypeLearner, names: list[str], vectors: Vectors) -> Iterator[LossResult]:
    """Yield the loss of each episode, then take its step with the recipe's optimiser."""
    recipe = learner.recipe()
    (group,) = learner.parameter_groups()
    optimiser = torch.optim.SGD(
        group["params"], lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    for name in names:
        result = training_step(learner, name, vectors).result
        yield result
        result.total.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def foreground(logs: Tensor) -> Tensor:
    """Return P (Q,H,W) of log-probabilities (Q,2,H,W)."""
    return logs[:, 1].exp()


def array_quantity(name: str, actual: Tensor, expected: NDArray[Any], tolerance: float) -> Quantity:
    """Return the largest absolute error; arrays of one query may lack their first axis."""
    if actual.ndim == expected.ndim + 1 and len(actual) == 1:
        actual = actual[0]
    return Quantity(name, largest_error(actual, expected), tolerance)


def mask_quantity(name: str, actual: Tensor, expected: NDArray[Any]) -> Quantity:
    """Return the share of pixels that differ; masks of one query may lack their first axis."""
    if actual.ndim == expected.ndim + 1 and len(actual) == 1:
        actual = actual[0]
    differing = actual.numpy() != expected.astype(bool)
    return Quantity(name, float(differing.mean()), PIXELS)
