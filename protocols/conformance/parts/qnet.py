"""Replay of the reference vectors of the released Q-Net: evaluation, refinement, training, a trajectory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from fewshot.learners.anomaly import mean_prototype, pooled_prototype
from fewshot.learners.logits import predict_logit_difference
from protocols.conformance.parts.adnet import (
    ALIGNMENT,
    QUERY,
    STEPS,
    Vectors,
    array_quantity,
    build_reference,
    foreground,
    mask_quantity,
    set_entry,
    step_quantities,
    steps,
    training_step,
)
from protocols.conformance.quantity import Quantity
from protocols.conformance.replays.replay import (
    ARRAYS,
    LOSSES,
    PROBABILITIES,
    episode_names,
    read_episode,
    read_vectors,
    relative,
    relative_error,
)
from protocols.conformance.replays.weights import made_by_name

BIAS = "encoder.reduce1d.bias"
SCALES = ("fine", "coarse")
THRESHOLD = 1e-4  # absolute
MOVE = 1e-3  # absolute, of the refinement's shift; a step shifts by 0.01
LATER_THRESHOLD = 1e-3  # absolute, in the trajectory


def check(folder: Path) -> Iterator[Quantity]:
    """Yield every quantity of a `qnet` folder."""
    expected, vectors = read_vectors(folder)
    learner: Any = build_reference("qnet")
    parameters = sum(p.numel() for p in learner.parameters())
    yield Quantity(f"{folder.name}/parameters", abs(parameters - expected["parameters"]), 0)
    names = episode_names(vectors)
    for name in names:
        yield from check_evaluation(learner, name, vectors, expected[name], folder.name)
    for name in names:
        yield from check_training(learner, name, vectors, expected[name], folder.name)
    yield from check_trajectory(expected, vectors, folder.name)


def check_evaluation(
    learner: Any, name: str, vectors: Vectors, expected: Mapping[str, Any], family: str
) -> Iterator[Quantity]:
    """Yield the evaluation quantities of one episode, before, during and after refinement."""
    prefix, episode = f"{family}/{name}", read_episode(vectors, name)
    set_entry(learner, BIAS, expected["bias_eval"])
    learner.eval()
    masks = episode.support_masks[0]
    maps = learner.encode(torch.cat([episode.support_images[0], episode.query_images[0]]))
    support, query = (tuple(one[part] for one in maps) for part in (slice(0, -1), slice(-1, None)))
    threshold = query[2].flatten()
    error = abs(threshold.item() - expected["threshold_eval"])
    yield Quantity(f"{prefix}/threshold_eval", error, THRESHOLD)
    for scale, stride, support_map, query_map in zip(SCALES, (4, 2), support, query, strict=False):
        features = torch.cat([support_map, query_map])[:, ::64, ::stride, ::stride]
        key = f"features_{scale}_eval"
        yield array_quantity(f"{prefix}/{key}", features, vectors[f"{name}/{key}"], ARRAYS)
        prototype = mean_prototype(support_map, masks)
        key = f"prototype_{scale}_eval"
        yield array_quantity(f"{prefix}/{key}", prototype, vectors[f"{name}/{key}"], ARRAYS)
        key = f"prob_{scale}_eval"
        found = learner.foreground(prototype, query_map, threshold)
        yield array_quantity(f"{prefix}/{key}", found, vectors[f"{name}/{key}"], PROBABILITIES)
        refined = list(
            islice(
                learner.refinement(prototype[0], query_map[0], threshold[0]), learner.options.refinement_steps
            )
        )
        losses = torch.stack([step.loss for step in refined])
        key = f"refinement_loss_{scale}"
        yield Quantity(f"{prefix}/{key}", relative_error(losses, expected[key]), LOSSES)
        start = vectors[f"{name}/prototype_{scale}_eval"]
        for key, step in ((f"refined1_{scale}_eval", refined[0]), (f"refined_{scale}_eval", refined[-1])):
            moved = step.prototype - prototype[0]
            yield array_quantity(f"{prefix}/{key}", moved, vectors[f"{name}/{key}"] - start, MOVE)
    for suffix, count in (("_plain", 0), ("", learner.options.refinement_steps)):
        with _options(learner, fine_weight=expected["alpha"], refinement_steps=count):
            size = (masks.shape[-2], masks.shape[-1])
            odds, _defined = predict_logit_difference(learner, support, masks, query, {}, size)
        key = f"prob_eval{suffix}"
        found = odds.sigmoid()[:, ::4, ::4]
        yield array_quantity(f"{prefix}/{key}", found, vectors[f"{name}/{key}"], PROBABILITIES)
        key = f"mask_eval{suffix}"
        yield mask_quantity(f"{prefix}/{key}", odds > 0, vectors[f"{name}/{key}"])


def check_training(
    learner: Any, name: str, vectors: Vectors, expected: Mapping[str, Any], family: str
) -> Iterator[Quantity]:
    """Yield the quantities of one training step from made-by-name weights and statistics."""
    learner.load_state_dict(made_by_name({k: tuple(v.shape) for k, v in learner.state_dict().items()}))
    set_entry(learner, BIAS, expected["bias_train"])
    prefix, masks = f"{family}/{name}", read_episode(vectors, name).support_masks[0]
    with _options(learner, fine_weight=expected["alpha"]):
        step = training_step(learner, name, vectors)
        yield from step_quantities(learner, step, expected, prefix)
        maps = [one.detach() for one in step.features]
        support, query = (tuple(one[part] for one in maps) for part in (slice(0, -1), slice(-1, None)))
        logs = learner.logits(support, masks, query, prepared={}, branch="query").detach()
    error = abs(query[2].item() - expected["threshold_train"])
    yield Quantity(f"{prefix}/threshold_train", error, THRESHOLD)
    found = foreground(logs)[:, ::4, ::4]
    yield array_quantity(f"{prefix}/prob_train", found, vectors[f"{name}/prob_train"], PROBABILITIES)
    predicted = logs[:, 1] > logs[:, 0]
    yield mask_quantity(f"{prefix}/align_mask", predicted, vectors[f"{name}/align_mask"])
    for scale, support_map, query_map in zip(SCALES, support, query, strict=False):
        key = f"prototype_{scale}_train"
        wanted = vectors[f"{name}/{key}"]
        yield array_quantity(f"{prefix}/{key}", mean_prototype(support_map, masks), wanted, ARRAYS)
        key = f"align_prototype_{scale}"
        if f"{name}/{key}" in vectors:
            wanted = vectors[f"{name}/{key}"]
            yield array_quantity(f"{prefix}/{key}", pooled_prototype(query_map, predicted), wanted, ARRAYS)


def check_trajectory(expected: Mapping[str, Any], vectors: Vectors, family: str) -> Iterator[Quantity]:
    """Yield the losses and the threshold before each of the first optimiser steps."""
    learner, recorded = build_reference("qnet"), expected["trajectory"]
    set_entry(learner, BIAS, expected["bias_train"])
    thresholds: list[float] = []
    learner.encoder.register_forward_hook(
        lambda _module, _images, output: thresholds.append(output[2][-1].item())
    )
    for number, result in enumerate(steps(learner, recorded["episodes"][:STEPS], vectors)):
        prefix = f"{family}/trajectory/{number}"
        for part, key, tolerance in (("query", "query_loss", QUERY), ("alignment", "align_loss", ALIGNMENT)):
            error = relative(result.parts[part].item(), recorded[key][number])
            yield Quantity(f"{prefix}/{key}", error, tolerance)
        error = abs(thresholds[number] - recorded["threshold"][number])
        yield Quantity(f"{prefix}/threshold", error, LATER_THRESHOLD)


@contextmanager
def _options(learner: Any, **changes: Any) -> Iterator[None]:
    """Change the learner's options within the context."""
    before = learner.options
    learner.options = dataclasses.replace(before, **changes)
    try:
        yield
    finally:
        learner.options = before
