"""Replay of the reference vectors of the released SSL-ALPNet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fewshot.learners.learner import PrototypeLearner
from protocols.conformance.quantity import Quantity
from protocols.conformance.replays.replay import Trajectory, reference_learner, replay

TRAJECTORY = Trajectory(steps=4, query=1e-2, alignment=5e-2)


def check(folder: Path) -> Iterator[Quantity]:
    """Yield every quantity of a `ssl_alpnet` folder."""
    yield from replay(folder, build_reference, TRAJECTORY)


def build_reference() -> PrototypeLearner:
    """Return SSL-ALPNet on a ResNet-101 with made-by-name weights."""
    return reference_learner("ssl-alpnet")
