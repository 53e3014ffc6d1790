"""Parts of I-MMSeg's network: decoder, gates of sentences, cross-modal attention, modulation and heads.

N slices, M sequences, K classes with background. Rules IMMSEG-2 to IMMSEG-7 of docs/immseg.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HIDDEN = 4  # channels inside a dynamic head
DROPOUT = 0.1


class Gate(nn.Module):
    """sigmoid(GELU(Linear(GELU(Linear)))), then dropout: values from 0.4576 to 1."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        """(...,inputs) -> (...,outputs)."""
        y: Tensor = self.dropout(torch.sigmoid(F.gelu(self.fc2(F.gelu(self.fc1(x))))))
        return y


def conv_block(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Return a convolution without bias, BatchNorm and ReLU."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class Decoder(nn.Module):
    """Coarsest map and three skips -> maps of stride 8, 4, 2 and 1.

    `base`: channels of the encoder's stem.
    """

    def __init__(self, base: int) -> None:
        super().__init__()
        self.conv_more = conv_block(16 * base, 8 * base, 3)
        inputs = (8 * base, 4 * base, 2 * base, base)
        skips = (8 * base, 4 * base, base, 0)
        self.blocks = nn.ModuleList(
            nn.Sequential(conv_block(into + skip, out, 3), conv_block(out, out, 3))
            for into, skip, out in zip(inputs, skips, (*inputs[1:], last_channels(base)), strict=True)
        )

    def forward(self, coarse: Tensor, skips: Sequence[Tensor]) -> list[Tensor]:
        """Return the four maps, coarsest first."""
        y, maps = self.conv_more(coarse), []
        for block, skip in zip(self.blocks, (*skips, None), strict=True):
            y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=True)
            y = block(y if skip is None else torch.cat([y, skip], dim=1))
            maps.append(y)
        return maps


def last_channels(base: int) -> int:
    """Return the channels of a decoder's last map; 16 is published."""
    return max(4, 4 * round(base / 16))


def cross_attention(features: Tensor, other: Tensor) -> Tensor:
    """Return the features of a sequence (N,C,h,w), mixed by their likeness to those of another sequence.

    The weights are the softmax over positions j of |cos(features_i, other_j)|; no value of `other` is read.
    """
    mine, theirs = features.flatten(2), other.flatten(2)
    cosines = cosine_magnitudes(mine.transpose(1, 2), theirs.transpose(1, 2))
    return (mine @ cosines.softmax(dim=-1).transpose(1, 2)).reshape(features.shape)


def cosine_magnitudes(first: Tensor, second: Tensor) -> Tensor:
    """Return |cos| (N,P,Q) of vectors (N,P,C) and (N,Q,C)."""
    cosines: Tensor = F.normalize(first, dim=-1) @ F.normalize(second, dim=-1).transpose(1, 2)
    return cosines.abs()


class AttentionReducer(nn.Module):
    """Channel and spatial attention (CBAM, ratio 16, 7x7), then a 1x1 convolution to `outputs` channels."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        hidden = max(1, channels // 16)
        self.shared = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False), nn.ReLU(), nn.Conv2d(hidden, channels, 1, bias=False)
        )
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.reduce = nn.Conv2d(channels, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,h,w) -> means over positions (N,outputs)."""
        averages, extremes = x.mean(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
        x = x * torch.sigmoid(self.shared(averages) + self.shared(extremes))
        summary = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        y: Tensor = self.reduce(x * torch.sigmoid(self.spatial(summary))).mean(dim=(2, 3))
        return y


class ClassModulation(nn.Module):
    """Class vectors C -> C (1 + gamma) + beta, with gamma and beta of each class from a vector."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, 2 * classes)

    def forward(self, vector: Tensor, classes: Tensor) -> Tensor:
        """(B,inputs) and (K,D) -> (B,K,D)."""
        gamma, beta = self.linear(vector).unflatten(-1, (len(classes), 2)).unbind(-1)
        modulated: Tensor = classes * (1 + gamma[..., None]) + beta[..., None]
        return modulated


class DynamicHead(nn.Module):
    """Logits from a small network whose weights follow, for each class, from skips and class vector."""

    def __init__(self, base: int, features: int) -> None:
        super().__init__()
        last = last_channels(base)
        self.pools = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(4, skip), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(skip, features, 1)
            )
            for skip in (8 * base, 4 * base, base)
        )
        self.controller = nn.Conv2d(2 * features, HIDDEN * HIDDEN + 2 * HIDDEN + 1, 1)
        self.before = nn.Sequential(nn.GroupNorm(4, last), nn.ReLU(), nn.Conv2d(last, HIDDEN, 1))

    def forward(self, skips: Sequence[Tensor], decoded: Tensor, classes: Tensor) -> Tensor:
        """Return logits (N,K,H,W) of class vectors (1 or N,K,D)."""
        pooled = [pool(skip) for pool, skip in zip(self.pools, skips, strict=True)]
        picture = torch.stack(pooled).mean(dim=0)[:, :, 0, 0]
        count = classes.shape[1]
        pairs = torch.cat(
            [picture[:, None].expand(-1, count, -1), classes.expand(len(picture), -1, -1)], dim=-1
        )
        weights = self.controller(pairs.flatten(0, 1)[:, :, None, None])
        return dynamic_logits(self.before(decoded), weights.reshape(len(picture), count, -1))


def dynamic_logits(features: Tensor, parameters: Tensor) -> Tensor:
    """Return w2 . ReLU(W1 h + b1) + b2, (N,K,H,W), of features h (N,4,H,W) and parameters (N,K,25).

    The parameters are W1 row by row, w2, b1 and b2.
    """
    first, second, bias, last = torch.split(parameters, [HIDDEN * HIDDEN, HIDDEN, HIDDEN, 1], dim=-1)
    first = first.reshape(*first.shape[:2], HIDDEN, HIDDEN)
    hidden = torch.einsum("nkoi,nihw->nkohw", first, features) + bias[..., None, None]
    logits: Tensor = torch.einsum("nko,nkohw->nkhw", second, F.relu(hidden)) + last[..., None]
    return logits
