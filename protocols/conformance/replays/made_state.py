"""Made-by-name weights of a learner whose state has matrices, with an episode's exceptions."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from protocols.conformance.replays.weights import made_by_name


def made_state(learner: nn.Module) -> dict[str, Tensor]:
    """Return weights by name for every entry of the learner's state, by the rule of the reference vectors."""
    shapes = {name: tuple(value.shape) for name, value in learner.state_dict().items()}
    matrices = {name: shape for name, shape in shapes.items() if len(shape) == 2}
    others = made_by_name({name: shape for name, shape in shapes.items() if name not in matrices})
    return others | {name: _matrix(name, shape) for name, shape in matrices.items()}


def load_episode_weights(
    learner: nn.Module,
    state: Mapping[str, Tensor],
    replaced: Mapping[str, float],
    scales: Mapping[str, float],
) -> None:
    """Load `state` into the learner with the exceptions of an episode.

    Args:
        learner: gets the complete state.
        state: the result of `made_state`.
        replaced: name of an entry -> the value of all its elements.
        scales: name of an entry -> its factor.
    """
    changed = {name: torch.full_like(state[name], value) for name, value in replaced.items()}
    changed |= {name: state[name] * scale for name, scale in scales.items()}
    learner.load_state_dict({**state, **changed})


def _matrix(name: str, shape: tuple[int, ...]) -> Tensor:
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    z = generator.standard_normal(shape, dtype=np.float32)
    return torch.from_numpy(z * np.float32(np.sqrt(2 / shape[1])))
