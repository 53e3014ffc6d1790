"""Blocks of MPTPN: convolutions, tokens, and steps between maps of two sizes.

N pictures, h x w a map's size, T tokens of E features. Rules MPTPN-1 to MPTPN-5 of docs/mptpn.md.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

HEADS = 8
DROPOUT = 0.1


class ConvBlock(nn.Module):
    """Convolution with bias (side 3 or 1), BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, side: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, side, padding=side // 2)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N,inputs,h,w) -> (N,outputs,h,w)."""
        return torch.relu(self.norm(self.conv(x)))


class DownBlock(nn.Module):
    """Halve the size by a maximum and apply two blocks."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.nConvs = nn.Sequential(ConvBlock(inputs, outputs), ConvBlock(outputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N,inputs,h,w) -> (N,outputs,h/2,w/2)."""
        y: Tensor = self.nConvs(self.pool(x))
        return y


class SequenceBlock(nn.Module):
    """Conv1d over a sequence with 3 places, BatchNorm, ReLU: (N,inputs,L) -> (N,outputs,L)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, 3, padding=1)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N,inputs,L) -> (N,outputs,L)."""
        return torch.relu(self.norm(self.conv(x)))


class Attention(nn.Module):
    """Self-attention of tokens (N,T,E) with 8 heads, scaled by the square root of a head's features."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(features, 3 * features)
        self.proj = nn.Linear(features, features)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N,T,E) -> (N,T,E)."""
        number, length, features = tokens.shape
        size = features // HEADS
        query, key, value = self.qkv(tokens).reshape(number, length, 3, HEADS, size).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-2, -1) * size**-0.5).softmax(dim=-1)
        mixed: Tensor = self.proj((weights @ value).transpose(1, 2).reshape(number, length, features))
        return mixed


class FeedForward(nn.Module):
    """Two linear layers, the hidden one four times as wide; GELU and dropout after each."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, 4 * features)
        self.fc2 = nn.Linear(4 * features, features)
        self.act = nn.GELU()
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N,T,E) -> (N,T,E)."""
        hidden = self.drop(self.act(self.fc1(tokens)))
        mixed: Tensor = self.drop(self.act(self.fc2(hidden)))
        return mixed


class TransformerBlock(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(features)
        self.attn = Attention(features)
        self.norm2 = nn.LayerNorm(features)
        self.mlp = FeedForward(features)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N,T,E) -> (N,T,E)."""
        tokens = tokens + self.attn(self.norm1(tokens))
        mixed: Tensor = tokens + self.mlp(self.norm2(tokens))
        return mixed


class Merge(nn.Module):
    """Halve the size: the four pixels of a 2 x 2 cell side by side, LayerNorm, linear layer to 2 C."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    @staticmethod
    def gather(x: Tensor) -> Tensor:
        """(N,C,h,w) -> (N,h/2,w/2,4C): upper left, lower left, upper right, lower right pixel."""
        places = [x[:, :, 0::2, 0::2], x[:, :, 1::2, 0::2], x[:, :, 0::2, 1::2], x[:, :, 1::2, 1::2]]
        return torch.cat(places, dim=1).permute(0, 2, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,h,w) -> (N,2C,h/2,w/2)."""
        merged: Tensor = self.reduction(self.norm(self.gather(x)))
        return merged.permute(0, 3, 1, 2)


class Expand(nn.Module):
    """Double the size: a pixel's channels (row, column, C/4) become four pixels, then LayerNorm and C/2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels // 4)
        self.reduction = nn.Linear(channels // 4, channels // 2, bias=False)

    @staticmethod
    def spread(x: Tensor) -> Tensor:
        """(N,C,h,w) -> (N,2h,2w,C/4)."""
        number, channels, height, width = x.shape
        parts = x.reshape(number, 2, 2, channels // 4, height, width).permute(0, 4, 1, 5, 2, 3)
        return parts.reshape(number, 2 * height, 2 * width, channels // 4)

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,h,w) -> (N,C/2,2h,2w)."""
        expanded: Tensor = self.reduction(self.norm(self.spread(x)))
        return expanded.permute(0, 3, 1, 2)


class PixelAttention(nn.Module):
    """Weigh each pixel of a map by a small network of its mean, its maximum and their sum.

    There is no sigmoid, so a weight can have any value. The released layer `conv_sig` has no use.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_avg = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv_max = nn.Conv2d(channels, channels, 1, bias=False)
        self.bottleneck = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 1))
        self.conv_sig = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,h,w) -> (N,C,h,w)."""
        mean = torch.relu(self.conv_avg(x)).mean(dim=1)
        most = torch.relu(self.conv_max(x)).amax(dim=1)
        weight: Tensor = self.bottleneck(torch.stack([mean, most, mean + most], dim=-1))
        return x * weight.permute(0, 3, 1, 2)


class UpAttention(nn.Module):
    """Put the doubled coarse map behind the weighed skip map and apply two blocks."""

    def __init__(self, coarse: int, skip: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2)
        self.pixModule = PixelAttention(skip)
        self.nConvs = nn.Sequential(ConvBlock(coarse + skip, skip), ConvBlock(skip, skip))

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """(N,coarse,h,w) and (N,skip,2h,2w) -> (N,skip,2h,2w)."""
        joined = torch.cat([self.pixModule(skip), self.up(coarse)], dim=1)
        y: Tensor = self.nConvs(joined)
        return y
