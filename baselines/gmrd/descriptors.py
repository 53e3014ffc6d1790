"""GMRD's descriptors of one side of a mask: learned sums over the filled map, the mean and a ring's mean."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.gmrd.fill import SIDE, Fill
from baselines.rpt.losses import dilate
from fewshot.learners.prototypes import average_under, spread_masks

OuterRing = Literal["released", "ring"]
FILL_DROPOUT = 0.2
CHANNEL_DROPOUT = 0.1
WIDTH = 100  # channels of a decoder before its last layer
RING = 2  # pixels


class FilledSums(nn.Module):
    """Two linear layers over the pixels of a filled map, the same for every channel: P -> n -> n.

    The filled map is never built. Each column of the first layer's weight moves to the source of its pixel,
    and from there to the grid's cells that this source is interpolated from. The result is a product with the
    features of the grid.
    """

    def __init__(self, count: int, rectified: bool) -> None:
        super().__init__()
        between: list[nn.Module] = [nn.Dropout(FILL_DROPOUT), *([nn.ReLU()] if rectified else [])]
        self.reduce = nn.Sequential(nn.Linear(SIDE * SIDE, count), *between, nn.Linear(count, count))

    def forward(self, features: Tensor, sides: Tensor, fill: Fill, mean: bool) -> Tensor:
        """Return the network's descriptors (N,n,C).

        Args:
            features: (N,C,h,w) float32.
            sides: (N,256,256) bool.
            fill: the sources of the pixels of each filled map.
            mean: True replaces each drawn pixel by the side's mean feature.
        """
        bias, rest = self.get_parameter("reduce.0.bias"), self.reduce[1:]
        rows = []
        for number, shot in enumerate(features):
            grid = (shot.shape[-2], shot.shape[-1])
            weight = self.cell_weights(sides[number], fill.sources[number], fill.drawn[number], grid, mean)
            sums = shot.flatten(1) @ weight.flatten(1).T + bias  # (C,n)
            rows.append(rest(sums).T)
        return torch.stack(rows)

    def cell_weights(
        self, side: Tensor, sources: Tensor, drawn: Tensor, grid: tuple[int, int], mean: bool
    ) -> Tensor:
        """Return the weight (n,h,w) of each cell of the grid in each sum of the first layer."""
        columns = self.get_parameter("reduce.0.weight").T.contiguous()  # (P,n)
        chosen = torch.where(drawn[:, None], 0.0, columns) if mean else columns
        moved = torch.zeros_like(columns).index_add(0, sources, chosen)
        maps = moved.T.contiguous().reshape(-1, SIDE, SIDE)
        cells = spread_masks(maps, grid, align_corners=True) * side.any()
        if mean:
            drawn_weight = columns.T @ drawn.float()
            share = spread_masks(side.float(), grid, align_corners=True) / side.sum().clamp(min=1)
            cells = cells + drawn_weight[:, None, None] * share
        return cells


class Decoder(nn.Module):
    """Decode n + 2 maps of cosines to one map of logits: (N,n+2,h,w) -> (N,h,w). No layer has a bias."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.res1 = nn.Sequential(nn.Conv2d(count + 2, count, 1, bias=False), nn.ReLU())
        self.res2 = nn.Sequential(
            nn.Conv2d(count, count, 3, padding=1, bias=False), nn.ReLU(),
            nn.Conv2d(count, count, 3, padding=1, bias=False), nn.ReLU(),
        )  # fmt: skip
        self.down = nn.Sequential(
            nn.Conv2d(count, WIDTH, 3, padding=1, bias=False), nn.ReLU(), nn.Dropout2d(CHANNEL_DROPOUT),
            nn.Conv2d(WIDTH, 1, 1, bias=False),
        )  # fmt: skip

    def forward(self, cosines: Tensor) -> Tensor:
        """Return the logits (N,h,w) of a side."""
        first = self.res1(cosines)
        out: Tensor = self.down(self.res2(first) + first)
        return out[:, 0]


def pixel_masks(masks: Tensor) -> Tensor:
    """Return masks (N,H,W) bool at 256 x 256 pixels; a pixel that shows the class stays foreground."""
    if masks.shape[-2:] == (SIDE, SIDE):
        return masks
    return F.adaptive_max_pool2d(masks.float()[:, None], (SIDE, SIDE))[:, 0] > 0


def foreground_means(features: Tensor, masks: Tensor) -> Tensor:
    """Return the mean under each mask and that of its inner ring, (N,2,C); masks (N,256,256) bool."""
    shown = masks.float()
    eroded = -dilate_by_ring(-shown)
    means = [average_under(features, weights, align_corners=True) for weights in (shown, shown - eroded)]
    return torch.stack(means, dim=1)


def background_means(features: Tensor, masks: Tensor, outer_ring: OuterRing) -> Tensor:
    """Return the mean outside each mask and that of the "outer ring" (rule GMRD-3), (N,2,C)."""
    shown = masks.float()
    around = dilate_by_ring(shown if outer_ring == "ring" else 1 - shown) - shown
    means = [average_under(features, weights, align_corners=True) for weights in (1 - shown, around)]
    return torch.stack(means, dim=1)


def dilate_by_ring(weights: Tensor) -> Tensor:
    """Return weights (N,H,W) dilated by the ring's width; pixels beyond the slice's edge do not count."""
    return dilate(weights, RING)
