"""The encoder of one sequence: a ResNet of version 2 with weight-standardised convolutions and GroupNorm.

Chen et al., TransUNet, arXiv 2102.04306, without the transformer. Rule IMMSEG-1 of docs/immseg.md. The maps
of a picture of H x W pixels have strides 16, 8, 4 and 2.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

UNITS = (3, 4, 9)


class StandardisedConv(nn.Conv2d):
    """A convolution without bias whose weights have mean 0 and variance 1 for each output channel."""

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,h,w) -> (N,D,h',w')."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, unbiased=False)
        weight = (self.weight - mean) / torch.sqrt(variance + 1e-5)
        return F.conv2d(x, weight, None, self.stride, self.padding)


def group_norm(channels: int) -> nn.GroupNorm:
    """Return GroupNorm of 32 groups, of fewer where 32 does not divide `channels`."""
    return nn.GroupNorm(math.gcd(32, channels), channels, eps=1e-6)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; ReLU follows the sum."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = outputs // 4
        self.gn1, self.gn2, self.gn3 = group_norm(inner), group_norm(inner), group_norm(outputs)
        self.conv1 = StandardisedConv(inputs, inner, 1, bias=False)
        self.conv2 = StandardisedConv(inner, inner, 3, stride, 1, bias=False)
        self.conv3 = StandardisedConv(inner, outputs, 1, bias=False)
        self._projects = stride != 1 or inputs != outputs
        if self._projects:
            self.downsample = StandardisedConv(inputs, outputs, 1, stride, bias=False)
            self.gn_proj = nn.GroupNorm(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N,inputs,h,w) -> (N,outputs,h/stride,w/stride)."""
        shortcut = self.gn_proj(self.downsample(x)) if self._projects else x
        y = F.relu(self.gn1(self.conv1(x)))
        y = F.relu(self.gn2(self.conv2(y)))
        return F.relu(shortcut + self.gn3(self.conv3(y)))


class SequenceEncoder(nn.Module):
    """Pictures (N,3,H,W) -> maps (N,16b,H/16,W/16), (N,8b,H/8,W/8), (N,4b,H/4,W/4) and (N,b,H/2,W/2).

    `base`: b, channels of the stem; 64 is published.
    """

    def __init__(self, base: int) -> None:
        super().__init__()
        self.root = nn.Sequential(
            OrderedDict(
                conv=StandardisedConv(3, base, 7, 2, 3, bias=False), gn=group_norm(base), relu=nn.ReLU()
            )
        )
        blocks, inputs = OrderedDict[str, nn.Module](), base
        for number, units in enumerate(UNITS, start=1):
            outputs = base * 2 ** (number + 1)
            layers = OrderedDict[str, nn.Module]()
            for unit in range(1, units + 1):
                layers[f"unit{unit}"] = Bottleneck(inputs, outputs, 2 if unit == 1 and number > 1 else 1)
                inputs = outputs
            blocks[f"block{number}"] = nn.Sequential(layers)
        self.body = nn.Sequential(blocks)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Return the four maps, coarsest first; the map of stride 4 has zeros at its last row and column."""
        height, width = pictures.shape[-2:]
        y = self.root(pictures)
        maps = [y]
        y = F.max_pool2d(y, 3, 2)
        for number, block in enumerate(self.body):
            y = block(y)
            stride = 4 * 2**number
            missing = (width // stride - y.shape[-1], height // stride - y.shape[-2])
            maps.append(F.pad(y, (0, missing[0], 0, missing[1])))
        return maps[::-1]
