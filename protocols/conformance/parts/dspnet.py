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
    read_episode,
    reference_learner,
    relative_error,
    replay,
)

CENTRES = 1e-4  # relative
TRAJECTORY = Trajectory(steps=3, query=2e-2, alignment=5e-2)


def check(folder: Path) -> Iterator[Quantity]:
    """Yield every quantity of a `dspnet` folder."""
    yield from replay(folder, build_reference, TRAJECTORY, check_details)


def build_reference() -> PrototypeLearner:
    """Return DSPNet with the released constants on a ResNet-101 with made-by-name weights."""
    return reference_learner("dspnet", resolve_method("dspnet").Options(preset="released"))


def check_details(
    learner: PrototypeLearner, name: str, vectors: Mapping[str, NDArray[Any]], family: str
) -> Iterator[Quantity]:
    """Yield seeds and detail prototypes of one episode, where they are recorded for the learner's mode.

    Without recorded centres the learner must have none.
    """
    suffix = "_train" if learner.training else ""
    if f"{name}/seeds{suffix}" not in vectors:
        return
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
