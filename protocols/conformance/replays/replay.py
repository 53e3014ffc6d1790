"""Replay of the reference vectors of every method: features, logits, losses, gradients, optimiser steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from episodes.io.npy import read_npz
from fewshot.base.errors import UserError
from fewshot.base.types import Episode
from fewshot.encoders.checkpoints import UNUSED_PARAMETERS
from fewshot.encoders.encoder import build_encoder
from fewshot.files.input_files import read_json
from fewshot.learners.learner import LossResult, PrototypeLearner
from fewshot.learners.logits import as_given, as_tuple, call_logits
from fewshot.learners.registry import resolve_method
from protocols.conformance.quantity import Quantity
from protocols.conformance.replays.weights import made_by_name

ARRAYS = 2e-4  # features and logits, absolute
PIXELS = 1e-4  # share of mask pixels that may differ
LOSSES = 1e-4  # relative
ZERO = 1e-6  # absolute, of a loss that is recorded as 0
PROBABILITIES = 1e-4  # absolute
GRADIENTS = 1e-3  # relative
LOOSE_GRADIENTS = 2e-2  # first convolution and batch norms: two back-ends differ by 2e-3 already


class Trajectory(NamedTuple):
    """The compared steps of the recorded optimisation, and the relative tolerances of its two losses."""

    steps: int
    query: float
    alignment: float


Details = Callable[[PrototypeLearner, str, Mapping[str, NDArray[Any]], str], Iterator[Quantity]]
Known = dict[tuple[bool, bytes], Any]  # mode and bytes of the images -> features


class Named(dict[str, Any]):
    """The content of a file of reference vectors; a missing entry raises `UserError` with the file."""

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self.path = path

    def __missing__(self, name: str) -> Any:
        raise UserError(
            f"{self.path} lacks {name!r}, expected the vectors of this method; copy the folder again"
        )


def replay(
    folder: Path, make: Callable[[], PrototypeLearner], trajectory: Trajectory, details: Details | None = None
) -> Iterator[Quantity]:
    """Yield the quantities that every method's folder holds (about 40 s on two cores).

    Args:
        folder: the vectors of a method.
        make: builds the learner with made-by-name weights; called twice.
        trajectory: what is compared of the optimisation.
        details: yields a method's own quantities of an episode, in the learner's mode.
    """
    expected, vectors = read_vectors(folder)
    learner = make()
    remember_features(learner)
    parameters = sum(p.numel() for p in learner.parameters()) + UNUSED_PARAMETERS
    yield Quantity(f"{folder.name}/parameters", abs(parameters - expected["parameters"]), 0)
    names = episode_names(vectors)
    learner.eval()
    for name in names:
        yield from check_evaluation(learner, name, vectors, folder.name)
        if details:
            yield from details(learner, name, vectors, folder.name)
    learner.train()
    for name in names:
        if name in expected:
            yield from check_training(learner, name, vectors, expected[name], folder.name)
        if details:
            yield from details(learner, name, vectors, folder.name)
    yield from check_trajectory(make(), vectors, expected["trajectory"], trajectory, folder.name)


def episode_names(vectors: Mapping[str, NDArray[Any]]) -> list[str]:
    """Return the episodes' names in the order of the file."""
    return list(dict.fromkeys(key.split("/")[0] for key in vectors))


def read_vectors(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return `expected.json` and the arrays of `vectors.npz`; `UserError` if one is missing or damaged."""
    remedy = "expected expected.json and vectors.npz of reference vectors: copy the folder again"
    expected = read_json(folder / "expected.json", remedy)
    if not isinstance(expected, dict):
        raise UserError(f"{folder / 'expected.json'} holds no object; {remedy}")
    vectors = read_npz(folder / "vectors.npz", remedy)
    return Named(folder / "expected.json", expected), Named(folder / "vectors.npz", vectors)


def remember_features(learner: Any, known: Known | None = None) -> None:
    """Make `learner.encode` keep its features and return them for equal images, unless it records gradients.

    Call this again after a change of weights. Features do not depend on dropout behind the encoder.

    Args:
        learner: its `encode` is replaced.
        known: features of an encoder with equal weights; gets the new ones.
    """
    encode = type(learner).encode
    features = {} if known is None else known

    def encode_once(images: Tensor) -> Any:
        key = learner.training, images.numpy().tobytes()
        if not torch.is_grad_enabled() and key in features:
            return features[key]
        found = encode(learner, images)
        features[key] = as_given([level.detach() for level in as_tuple(found)])
        return found

    learner.encode = encode_once


def reference_learner(method: str, options: Any = None) -> PrototypeLearner:
    """Return the method on a ResNet-101 with made-by-name weights; matrices keep their initial values."""
    learner: PrototypeLearner = resolve_method(method)(build_encoder("resnet101"), options)
    state = learner.state_dict()
    made = made_by_name({name: tuple(value.shape) for name, value in state.items() if value.ndim != 2})
    learner.load_state_dict({**state, **made})
    return learner


def check_evaluation(
    learner: PrototypeLearner, name: str, vectors: Mapping[str, NDArray[Any]], family: str
) -> Iterator[Quantity]:
    """Yield the evaluation quantities of one episode."""
    episode = read_episode(vectors, name)
    support_masks = episode.support_masks[0]
    with torch.inference_mode():
        features = encode_shots(learner, episode)
        wanted = vectors[f"{name}/features_eval"]
        yield Quantity(
            f"{family}/{name}/features_eval", largest_error(features[:, ::32, ::4, ::4], wanted), ARRAYS
        )
        logits = _logits(learner, features, support_masks)
        yield Quantity(
            f"{family}/{name}/eval_logits",
            largest_error(logits[:, ::4, ::4], vectors[f"{name}/eval_logits"]),
            ARRAYS,
        )
        differing = logits.argmax(0).numpy() != vectors[f"{name}/eval_mask"]
        yield Quantity(f"{family}/{name}/eval_mask", float(differing.mean()), PIXELS)


def check_training(
    learner: PrototypeLearner,
    name: str,
    vectors: Mapping[str, NDArray[Any]],
    expected: Mapping[str, Any],
    family: str,
) -> Iterator[Quantity]:
    """Yield the quantities of one training step; the learner's weights do not change."""
    episode = with_prepared(learner, read_episode(vectors, name))
    learner.zero_grad(set_to_none=True)
    result = learner.loss(episode)
    if f"{name}/train_logits" in vectors:
        with torch.no_grad():
            logits = _logits(learner, encode_shots(learner, episode), episode.support_masks[0])
        error = largest_error(logits[:, ::4, ::4], vectors[f"{name}/train_logits"])
        yield Quantity(f"{family}/{name}/train_logits", error, ARRAYS)
    undefined = str(expected.get("train", "")).startswith("undefined")
    yield Quantity(f"{family}/{name}/skipped", float(bool(result.defined) == undefined), 0)
    if undefined:
        return
    for part, key in (("query", "query_loss"), ("alignment", "align_loss")):
        yield Quantity(f"{family}/{name}/{key}", _loss_error(result, part, expected[key]), LOSSES)
    result.total.backward()  # type: ignore[no-untyped-call]
    yield from check_gradients(learner, expected, f"{family}/{name}")


def check_gradients(
    learner: PrototypeLearner, expected: Mapping[str, Any], prefix: str
) -> Iterator[Quantity]:
    """Yield norm and first eight entries of the recorded gradients, and the norm of all together.

    Errors are relative; the error of a recorded gradient of 0 is absolute.
    """
    gradients = {key: value.grad for key, value in learner.named_parameters() if value.grad is not None}
    for key, norm in expected["grad_norm"].items():
        tolerance = gradient_tolerance(key)
        found = gradients[key]
        if norm == 0:
            yield Quantity(f"{prefix}/grad_norm/{key}", found.norm().item(), ZERO)
            continue
        yield Quantity(f"{prefix}/grad_norm/{key}", relative(found.norm().item(), norm), tolerance)
        error = relative_error(found.flatten()[:8], expected["grad_head"][key])
        yield Quantity(f"{prefix}/grad_head/{key}", error, tolerance)
    total = torch.stack([gradient.norm() for gradient in gradients.values()]).norm().item()
    yield Quantity(f"{prefix}/grad_norm_total", relative(total, expected["grad_norm_total"]), GRADIENTS)


def check_trajectory(
    learner: PrototypeLearner,
    vectors: Mapping[str, NDArray[Any]],
    expected: Mapping[str, Any],
    compared: Trajectory,
    family: str,
) -> Iterator[Quantity]:
    """Yield the losses before each of the first optimiser steps."""
    recipe = learner.recipe()
    groups = [
        {"params": group["params"], "lr": recipe.learning_rate * group["rate"]}
        for group in learner.parameter_groups()
    ]
    optimiser = torch.optim.SGD(
        groups, lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    learner.train()
    for step, name in enumerate(expected["episodes"][: compared.steps]):
        result = learner.loss(with_prepared(learner, read_episode(vectors, name)))
        for part, key in (("query", "query_loss"), ("alignment", "align_loss")):
            error = _loss_error(result, part, expected[key][step])
            yield Quantity(f"{family}/trajectory/{step}/{key}", error, getattr(compared, part))
        if step + 1 == compared.steps:
            return
        optimiser.zero_grad()
        result.total.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def read_episode(vectors: Mapping[str, NDArray[Any]], name: str) -> Episode:
    """Return an episode of the vectors: its shots, and one query slice (H,W) or several (Q,H,W)."""
    query, query_masks = (vectors[f"{name}/query_{kind}"] for kind in ("image", "mask"))
    side = query.shape[-2:]
    return Episode(
        torch.from_numpy(vectors[f"{name}/support_image"].astype(np.float32))[None, :, None],
        torch.from_numpy(vectors[f"{name}/support_mask"] > 0)[None],
        torch.from_numpy(query.astype(np.float32)).reshape(1, -1, 1, *side),
        torch.from_numpy(query_masks > 0).reshape(1, -1, *side),
    )


def with_prepared(learner: PrototypeLearner, episode: Episode) -> Episode:
    """Return the episode with the result of the learner's `prepare`, as the sampler adds it."""
    values = learner.prepare(episode.support_masks[0])
    return dataclasses.replace(episode, prepared={name: value[None] for name, value in values.items()})


def gradient_tolerance(name: str) -> float:
    """Return the relative tolerance of a parameter's gradient."""
    loose = "backbone.conv1." in name or ".bn" in name or "downsample.1." in name
    return LOOSE_GRADIENTS if loose else GRADIENTS


def largest_error(actual: Tensor, expected: NDArray[Any]) -> float:
    """Return max |actual - expected|; infinite if the shapes differ."""
    if tuple(actual.shape) != expected.shape:
        return float("inf")
    return float(np.abs(actual.detach().numpy() - expected).max())


def relative_error(actual: Tensor, expected: Any) -> float:
    """Return max |actual - expected| / max |expected|."""
    array = np.asarray(expected)
    return largest_error(actual, array) / float(np.abs(array).max())


def relative(actual: float, expected: float) -> float:
    """Return |actual - expected| / |expected|."""
    return abs(actual - expected) / abs(expected)


def loss_quantity(name: str, actual: float, expected: float) -> Quantity:
    """Return the relative error of a loss; the absolute error if the recorded loss is 0."""
    if expected == 0:
        return Quantity(name, abs(actual), ZERO)
    return Quantity(name, relative(actual, expected), LOSSES)


def _loss_error(result: LossResult, part: str, expected: float) -> float:
    return relative(result.parts[part].item(), expected)


def encode_shots(learner: PrototypeLearner, episode: Episode) -> Tensor:
    """Return the features of the support shots and then the query, (S+1,C,h,w), from one batch."""
    features = learner.encode(torch.cat([episode.support_images[0], episode.query_images[0]]))
    assert isinstance(features, Tensor)
    return features


def _logits(learner: PrototypeLearner, features: Tensor, support_masks: Tensor) -> Tensor:
    """Return the query's logits at image size (2,H,W); the last of `features` is the query's."""
    shots = len(support_masks)
    prepared = learner.prepare(support_masks)
    scores, _defined = call_logits(
        learner, features[:shots], support_masks, features[shots:], prepared, "query"
    )
    return F.interpolate(scores, size=support_masks.shape[-2:], mode="bilinear", align_corners=False)[0]
