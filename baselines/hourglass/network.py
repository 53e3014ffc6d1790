"""The stacked hourglass network: a stem, S hourglasses with a score each, attention before the last score.

N pictures of side x side pixels, C heat-map channels, F = 256 features at full width. Module names are those
of the public stacked-hourglass convention, so released weights load by name. Rules HG-1 to HG-4 of
docs/landmarks.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DEPTH = 4  # doublings of an hourglass
EXPANSION = 2  # outputs of a bottleneck for one of its planes
STEM, PLANES = 64, 128  # channels at full width
STRIDE = 4  # pixels of a picture for one pixel of a score
MULTIPLE = STRIDE * 2**DEPTH  # of the side of a picture


class Bottleneck(nn.Module):
    """A pre-activation bottleneck (N,inputs,h,w) -> (N,2 planes,h,w); every convolution has a bias.

    A 1 x 1 convolution without BatchNorm is the shortcut where the number of channels changes.
    """

    def __init__(self, inputs: int, planes: int) -> None:
        super().__init__()
        outputs = EXPANSION * planes
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, planes, 1)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outputs, 1)
        self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1)) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """(N,inputs,h,w) -> (N,2 planes,h,w)."""
        y = self.conv1(F.relu(self.bn1(x)))
        y = self.conv2(F.relu(self.bn2(y)))
        y = self.conv3(F.relu(self.bn3(y)))
        shortcut = x if self.downsample is None else self.downsample(x)
        summed: Tensor = y + shortcut
        return summed


class Hourglass(nn.Module):
    """An hourglass (N,F,h,w) -> (N,F,h,w): maximum pooling down, nearest neighbours up, sums across."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        # level n from the innermost: across, down, up, and at the innermost one more
        self.hg = nn.ModuleList(
            nn.ModuleList(_residual(EXPANSION * planes, planes) for _ in range(3 if level else 4))
            for level in range(DEPTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N,F,h,w) -> (N,F,h,w); h and w are multiples of 16."""
        return self._level(DEPTH - 1, x)

    def _level(self, level: int, x: Tensor) -> Tensor:
        blocks = self.hg[level]
        assert isinstance(blocks, nn.ModuleList)
        low = blocks[1](F.max_pool2d(x, 2))
        low = self._level(level - 1, low) if level else blocks[3](low)
        up = F.interpolate(blocks[2](low), scale_factor=2, mode="nearest")
        summed: Tensor = blocks[0](x) + up
        return summed


class StackAttention(nn.Sequential):
    """A weight in [0,1] for each place, (N,1,h,w), from the features of all stacks (N,S F,h,w)."""

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        layers: list[nn.Module] = []
        for outputs in widths:
            layers += [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        super().__init__(*layers, nn.Conv2d(inputs, 1, 1, bias=False), nn.Sigmoid())


class HourglassNetwork(nn.Module):
    """The whole network; pictures (N,3,side,side) -> one heat-map (N,C,side,side) for each stack.

    Args:
        stacks: number of hourglasses S.
        attention: whether the features of the last stack are weighed before their score.
        outputs: number of channels C.
        width: factor of all inner channels; 1 is published.
    """

    def __init__(self, stacks: int, attention: bool, outputs: int, width: float = 1.0) -> None:
        super().__init__()
        stem, planes = (max(4, round(channels * width)) for channels in (STEM, PLANES))
        features = EXPANSION * planes
        self.conv1 = nn.Conv2d(3, stem, 7, stride=2, padding=3)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = _residual(stem, stem)
        self.layer2 = _residual(EXPANSION * stem, EXPANSION * stem)
        self.layer3 = _residual(EXPANSION * EXPANSION * stem, planes)
        self.hg = nn.ModuleList(Hourglass(planes) for _ in range(stacks))
        self.res = nn.ModuleList(_residual(features, planes) for _ in range(stacks))
        self.fc = nn.ModuleList(
            nn.Sequential(nn.Conv2d(features, features, 1), nn.BatchNorm2d(features), nn.ReLU())
            for _ in range(stacks)
        )
        self.score = nn.ModuleList(nn.Conv2d(features, outputs, 1) for _ in range(stacks))
        self.fc_ = nn.ModuleList(nn.Conv2d(features, features, 1) for _ in range(stacks - 1))
        self.score_ = nn.ModuleList(nn.Conv2d(outputs, features, 1) for _ in range(stacks - 1))
        if attention:
            widths = [max(1, round(channels * width)) for channels in (128, 16, 8)]
            self.attention = StackAttention(stacks * features, widths)
        self._has_attention = attention

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Return the heat-maps of every stack, first to last, each (N,C,side,side)."""
        side = pictures.shape[-2:]
        return [
            F.interpolate(score, size=side, mode="bilinear", align_corners=False)
            for score in self.scores(pictures)
        ]

    def scores(self, pictures: Tensor) -> list[Tensor]:
        """Return the scores of every stack, each (N,C,side/4,side/4)."""
        x = self.layer1(F.relu(self.bn1(self.conv1(pictures))))
        x = self.layer3(self.layer2(F.max_pool2d(x, 2)))
        last = len(self.hg) - 1
        features: list[Tensor] = []
        scores: list[Tensor] = []
        for stack, hourglass in enumerate(self.hg):
            y = self.fc[stack](self.res[stack](hourglass(x)))
            features.append(y)
            if stack == last and self._has_attention:
                y = y * self.attention(torch.cat(features, dim=1))
            score = self.score[stack](y)
            scores.append(score)
            if stack < last:
                x = x + self.fc_[stack](y) + self.score_[stack](score)
        return scores


def _residual(inputs: int, planes: int) -> nn.Sequential:
    """Return one bottleneck in a sequence, as the public names have it."""
    return nn.Sequential(Bottleneck(inputs, planes))
