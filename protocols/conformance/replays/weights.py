"""Made-by-name weights of the reference vectors' models: random numbers seeded by the parameters' names."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def made_by_name(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return a state dict for {released name: shape}, by the rule in the vectors' README.

    Names are those of released checkpoints (`encoder.backbone.conv1.weight`).
    """
    return {name: _tensor(name, tuple(shape)) for name, shape in shapes.items()}


def _tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    return torch.from_numpy(_scaled(name, generator.standard_normal(shape, dtype=np.float32)))


def _scaled(name: str, z: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale standard normal numbers to the magnitude of trained weights."""
    if name.endswith("running_mean"):
        return np.float32(0.1) * z
    if name.endswith("running_var"):
        return np.float32(1) + np.float32(0.1) * np.abs(z)
    if z.ndim > 1:
        return z * np.float32(np.sqrt(2 / np.prod(z.shape[1:])))
    if name.endswith("bn3.weight"):
        return np.float32(0.2) * (np.float32(1) + np.float32(0.1) * z)
    if name.endswith(".bias"):
        return np.float32(0.1) * z
    return np.float32(1) + np.float32(0.1) * z
