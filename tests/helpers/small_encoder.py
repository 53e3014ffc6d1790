"""Small encoders for tests: one convolution of stride 8 with batch statistics, or two of stride 4 and 8."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fewshot.base.seeds import seed_for


class SmallEncoder(nn.Module):
    """Stride 8, one convolution, batch statistics: what the checks need of an encoder, in no time."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 8, 8, stride=8, bias=False, device="meta").to_empty(device="cpu")
        generator = torch.Generator().manual_seed(seed_for("small encoder", seed))
        nn.init.normal_(self.convolution.weight, std=0.2, generator=generator)
        self.norm = nn.BatchNorm2d(8)
        self.out_channels = 8

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.norm(self.convolution(images))
        return features


class SmallTwoScales(nn.Module):
    """Maps of stride 4 and 8, a small encoder each: the first sees slices of twice the size; a threshold."""

    out_channels = 8

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.fine, self.coarse = SmallEncoder(seed), SmallEncoder(seed + 1)
        self.reduce1d = nn.Linear(8, 1)
        nn.init.zeros_(self.reduce1d.weight)
        nn.init.zeros_(self.reduce1d.bias)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        coarse = self.coarse(images)
        thresholds = self.reduce1d(coarse.mean((2, 3)))[:, :, None, None]
        return self.fine(nn.functional.interpolate(images, scale_factor=2)), coarse, thresholds


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


# for methods that are not built on one map of stride 8
SMALL = {"qnet": SmallTwoScales, "rpt": SmallThresholdEncoder, "gmrd": SmallThresholdEncoder}
