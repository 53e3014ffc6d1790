"""The network of TMUnet: a ResNet U-Net with a boundary head, gated by the context of patches.

N pictures of S x S pixels, K outputs. At full width on a ResNet-50 it has 165,165,953 parameters. Rules
TMUNET-5 to TMUNET-9 of docs/supervised.md. `baselines/tmunet/published_names.py` gives the released names.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.tmunet.context import DependencyMap, PatchTransformer
from fewshot.base.errors import UserError
from fewshot.encoders.encoder import Backbone, build_backbone

FEATURES = 512  # of a token at full width
DECODER = (2048, 1024, 512, 256, 128, 64)  # bridge, then the five steps up, at full width


@dataclass(frozen=True)
class Outputs:
    """Outputs of the network, all in [0,1]; None: that branch is left out.

    masks (N,K,S,S); boundary (N,1,S,S); coefficients (N,T,1); beta (N,B,S,S); gamma (N,1,S,S).
    """

    masks: Tensor
    boundary: Tensor | None
    coefficients: Tensor | None
    beta: Tensor | None
    gamma: Tensor | None


WIDTHS = tuple(str(width) for width in range(8, 65, 8))


class Trunk(nn.Module):
    """A plain ResNet as encoder: pictures (N,3,S,S) -> maps of stride 2, 4, 8, 16 and 32.

    `name` is a ResNet, or with "-wN" behind it one whose stem has N channels in place of 64, for quick
    runs. N is a multiple of 8: on processors with AVX2 alone, torch 2.13 writes outside its memory in
    the backward pass of a strided 1x1 convolution of 4 channels.
    """

    def __init__(self, name: str, seed: int) -> None:
        super().__init__()
        self.name = name
        full, _, width = name.partition("-w")
        if width and width not in WIDTHS:
            raise UserError(f"encoder {name!r}: expected one of {', '.join(WIDTHS)} channels after -w")
        stem = int(width) if width else 64
        self.backbone: Backbone = build_backbone(full, seed, stem)
        last = self.backbone.channels
        self.widths = (stem, last // 8, last // 4, last // 2, last)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Return the five maps, finest first."""
        net = self.backbone
        maps = [net.relu(net.bn1(net.conv1(pictures)))]
        coarse = net.maxpool(maps[0])
        for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
            coarse = layer(coarse)
            maps.append(coarse)
        return maps


class ConvBlock(nn.Module):
    """3x3 convolution with bias, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.bn = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N,inputs,h,w) -> (N,outputs,h,w)."""
        y: Tensor = self.relu(self.bn(self.conv(x)))
        return y


class Bridge(nn.Module):
    """Two blocks after the coarsest map."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.bridge = nn.Sequential(ConvBlock(inputs, outputs), ConvBlock(outputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N,inputs,h,w) -> (N,outputs,h,w)."""
        y: Tensor = self.bridge(x)
        return y


class UpBlock(nn.Module):
    """Double the size, put the skip map behind, and apply two blocks."""

    def __init__(self, inputs: int, skip: int, outputs: int, doubled: int) -> None:
        super().__init__()
        self.upsample = nn.ConvTranspose2d(inputs, doubled, 2, stride=2)
        self.conv_block_1 = ConvBlock(doubled + skip, outputs)
        self.conv_block_2 = ConvBlock(outputs, outputs)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """(N,inputs,h,w) and (N,skip,2h,2w) -> (N,outputs,2h,2w)."""
        joined = torch.cat([self.upsample(coarse), skip], dim=1)
        y: Tensor = self.conv_block_2(self.conv_block_1(joined))
        return y


class ChannelGate(nn.Module):
    """Squeeze and excitation of maps (N,C,h,w): the gate (N,C,1,1) itself, or the gated maps.

    `gate_only` is the published form: the maps reach the output as one vector a picture.
    """

    def __init__(self, channels: int, gate_only: bool) -> None:
        super().__init__()
        hidden = max(1, channels // 16)
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, channels, bias=False),
            nn.Sigmoid(),
        )  # fmt: skip
        self._gate_only = gate_only

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,h,w) -> (N,C,1,1) or (N,C,h,w)."""
        gate: Tensor = self.fc(x.mean(dim=(2, 3)))[:, :, None, None]
        return gate if self._gate_only else x * gate


class TMUnetNetwork(nn.Module):
    """The whole network after the trunk.

    Args:
        widths: channels of the trunk's five maps.
        side: pixels a side of a picture, a multiple of 32.
        width: factor of all channels outside the trunk; 1 is published.
        outputs: number of masks K.
        published: keep the published faults (gate alone, shifted cells, scale after the softmax).
        boundary: whether the boundary head exists.
        transformer: whether the patch branch exists.
    """

    def __init__(
        self, widths: tuple[int, ...], side: int, width: float, outputs: int, published: bool,
        boundary: bool = True, transformer: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        bottom, *ups = (max(8, round(channels * width)) for channels in DECODER)
        features, last = max(32, 8 * round(FEATURES * width / 8)), ups[-1]
        if transformer:
            self.transformer = nn.ModuleList(
                [PatchTransformer(side, features, published), DependencyMap(features, last, not published)]
            )
        self.bridge = Bridge(widths[4], bottom)
        skips = (*widths[3::-1], 3)
        # the last two steps double with the channels of their output
        doubled = (ups[0], ups[1], ups[2], ups[3], ups[4])
        self.up_blocks = nn.ModuleList(
            UpBlock(inputs, skip, out, double)
            for inputs, skip, out, double in zip((bottom, *ups[:-1]), skips, ups, doubled, strict=True)
        )
        self.se = ChannelGate(last, published)
        if boundary:
            half = max(1, last // 2)
            self.boundary = nn.Sequential(
                nn.Conv2d(last, half, 1), nn.BatchNorm2d(half), nn.ReLU(), nn.Conv2d(half, 1, 1, bias=False),
                nn.Sigmoid(),
            )  # fmt: skip
        self.out = nn.Conv2d(2 * last if transformer else last, outputs, 1)
        self._has_boundary, self._has_transformer = boundary, transformer

    def forward(self, pictures: Tensor, maps: list[Tensor]) -> Outputs:
        """Return the outputs of pictures (N,3,S,S) in [0,255] and the trunk's maps of them."""
        context = self.transformer[1](self.transformer[0](pictures)) if self._has_transformer else None
        beta, gamma, coefficients = (None, None, None) if context is None else context
        decoded = self.bridge(maps[4])
        for block, skip in zip(self.up_blocks, (*maps[3::-1], pictures), strict=True):
            decoded = block(decoded, skip)
        boundary = self.boundary(decoded) if self._has_boundary else None
        gated = self.se(decoded)
        if boundary is not None:
            gated = gated + boundary
        if gamma is not None and beta is not None:
            gated = torch.cat([gated * gamma, beta], dim=1)
        elif boundary is None:
            gated = gated.expand(-1, -1, *pictures.shape[-2:])
        return Outputs(torch.sigmoid(self.out(gated)), boundary, coefficients, beta, gamma)
