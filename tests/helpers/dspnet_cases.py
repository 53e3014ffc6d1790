"""Support masks that lead DSPNet through each of its branches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from baselines.dspnet.model import DSPNet

SIDE = 256  # pixels; the feature map is 32 x 32


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def box(*edges: int, side: int = SIDE) -> Tensor:
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[edges[0] : edges[1], edges[2] : edges[3]] = True
    return mask


def disc(row: int, column: int, radius: int) -> Tensor:
    rows, columns = torch.arange(SIDE)[:, None], torch.arange(SIDE)[None]
    return (rows - row) ** 2 + (columns - column) ** 2 < radius**2


def learner(training: bool = False, channels: int = 6, **options: Any) -> DSPNet:
    """DSPNet with a matrix that has been learnt a little: no longer tridiagonal."""
    model = DSPNet(nn.Conv2d(1, channels, 8, stride=8), DSPNet.Options(**options)).train(training)
    with torch.no_grad():
        model.cls_unit.cal += 0.05 * noise(channels, channels, seed=9)
    return model


HOLLOW = disc(120, 130, 60) & ~disc(120, 130, 20)


CASES = {
    "two seeds": [disc(120, 130, 60)],
    "five seeds": [box(20, 230, 30, 240)],
    "hollow": [HOLLOW],
    "no seeds": [box(80, 160, 80, 150)],
    "no local prototypes": [box(100, 112, 100, 116)],
    "smaller than a cell": [box(100, 104, 100, 104)],
    "two shots": [disc(120, 130, 60), box(80, 160, 80, 150)],
    "a shot without the class": [disc(120, 130, 60), box(0, 0, 0, 0)],
}
