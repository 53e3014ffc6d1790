"""Small encoders for tests of RPT and GMRD: a fine map of stride 4 and a threshold for every slice."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fewshot.seeds import seed_for


class SmallThresholdEncoder(nn.Module):
    """One convolution with batch statistics, and a threshold from the slice's mean feature."""

    out_channels = 8

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 8, 4, stride=4, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.cut = nn.Linear(8, 1)
        generator = torch.Generator().manual_seed(seed_for("small threshold encoder", seed))
        for parameter in (self.convolution.weight, self.cut.weight):
            nn.init.normal_(parameter, std=0.3, generator=generator)
        nn.init.constant_(self.cut.bias, -5.0)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return maps (N,8,H/4,W/4) and thresholds (N,1,1,1)."""
        features: Tensor = self.norm(self.convolution(images))
        return features, self.cut(features.mean(dim=(2, 3)))[:, :, None, None]
