"""Replay of the reference vectors of the released DSPNet: those of every method, seeds and centres."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from numpy.typing import NDArray

from fewshot.learners.learner import PrototypeLearner
from fewshot.learners.prototypes import resize_masks
from fewshot.learners.registry import resolve_method
from protocols.conformance.quantity import Quantity
from protocols.conformance.replays.replay import (
    Trajectory,
    encode_shots,
    episode_names,
    read_episode,
    read_vectors,
    reference_learner,
    relative_error,
    replay,
)

CENTRES = 1e-4  # relative
TRAJECTORY = Trajectory(steps=3, query=2e-2, alignment=5e-2)


def check(folder: Path) -> Iterator[Quantity]:
    """Yield every quantity of a `dspnet` folder."""
    yield from replay(folder, build_reference, TRAJECTORY)
    _expected, vectors = read_vectors(folder)
    learner = build_reference()
    for name in episode_names(vectors):
        yield from check_details(learner, name, vectors, folder.name)


def build_reference() -> PrototypeLearner:
    """Return DSPNet with the released constants on a ResNet-101 with made-by-name weights."""
    return reference_learner("dspnet", resolve_method("dspnet").Options(preset="released"))


def check_details(
    learner: PrototypeLearner, name: str, vectors: Mapping[str, NDArray[Any]], family: str
) -> Iterator[Quantity]:
    """Yield seeds and detail prototypes of one episode, in evaluation and (`_train`) in training mode.

    Without recorded centres the learner must have none. The learner's mode is restored.
    """
    before = learner.training
    for suffix in ("", "_train"):
        if f"{name}/seeds{suffix}" in vectors:
            learner.train(suffix == "_train")
            yield from _details(learner, name, suffix, vectors, family)
    learner.train(before)


def _details(
    learner: PrototypeLearner, name: str, suffix: str, vectors: Mapping[str, NDArray[Any]], family: str
) -> Iterator[Quantity]:
    episode = read_episode(vectors, name)
    masks = episode.support_masks[0]
    prepared = learner.prepare(masks)
    differing = prepared["seeds"][0].numpy() != vectors[f"{name}/seeds{suffix}"]
    yield Quantity(f"{family}/{name}/seeds{suffix}", float(differing.sum()), 0)
    with torch.no_grad():
        features = encode_shots(learner, episode)[: len(masks)]
    small = resize_masks(masks, (features.shape[-2], features.shape[-1]))
    height, width = masks.shape[-2:]
    clusters = cast(Any, learner).clusters(features, small, prepared, (height, width))
    centres, counts = clusters.centres, clusters.counts
    recorded = vectors.get(f"{name}/centers{suffix}")
    expected = 0 if recorded is None else recorded.shape[1]
    yield Quantity(f"{family}/{name}/seed_count{suffix}", abs(int(counts.sum()) - expected), 0)
    if recorded is not None:
        error = relative_error(centres[0][counts[0]].T, recorded)
        yield Quantity(f"{family}/{name}/centers{suffix}", error, CENTRES)
