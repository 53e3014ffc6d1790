"""A small encoder for tests: one convolution of stride 8 with batch statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fewshot.seeds import seed_for


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
