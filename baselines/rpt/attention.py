"""RPT's attention block over regions, with the parameter names of its released checkpoints."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEADS = 3
DROPOUT = 0.1


class Pass(NamedTuple):
    """One pass of the refinement for N queries, with K regions of C channels.

    Attributes:
        query_prototypes: (N,C).
        affinities: (N,K), of each query and each region.
        normed: (N,K,C), after the first layer norm.
        attended: (N,K,C), after the attention.
        regions: (N,K,C), after the block.
        prototypes: (N,C), of the foreground.
        probabilities: (N,h,w), of the foreground.
    """

    query_prototypes: Tensor
    affinities: Tensor
    normed: Tensor
    attended: Tensor
    regions: Tensor
    prototypes: Tensor
    probabilities: Tensor


class RegionAttention(nn.Module):
    """Attention of every region to every region: (N,K,C) -> (N,K,C), with a residual and a layer norm.

    Each head has C channels. ReLU follows each of the three projections and the output layer. Dropout of 0.1
    acts on the attention weights and on the output. Initial weights: projections normal with a standard
    deviation of sqrt(1/C), output layer Xavier normal, all others torch's default, all drawn from torch's
    default generator.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.w_qs = nn.Linear(channels, HEADS * channels)
        self.w_ks = nn.Linear(channels, HEADS * channels)
        self.w_vs = nn.Linear(channels, HEADS * channels)
        self.fc = nn.Linear(HEADS * channels, channels)
        self.layer_norm = nn.LayerNorm(channels)
        self.attention_dropout: nn.Module = nn.Dropout(DROPOUT)
        self.output_dropout: nn.Module = nn.Dropout(DROPOUT)
        for projection in (self.w_qs, self.w_ks, self.w_vs):
            nn.init.normal_(projection.weight, std=channels**-0.5)
        nn.init.xavier_normal_(self.fc.weight)

    def forward(self, regions: Tensor) -> Tensor:
        """Return the attended regions (N,K,C)."""
        queries, keys, values = (self._heads(layer, regions) for layer in (self.w_qs, self.w_ks, self.w_vs))
        scores = queries @ keys.transpose(-1, -2) / regions.shape[-1] ** 0.5
        weights = self.attention_dropout(scores.softmax(dim=-1))
        joined = (weights @ values).transpose(1, 2).flatten(2)
        out: Tensor = self.layer_norm(F.relu(self.output_dropout(self.fc(joined))) + regions)
        return out

    def _heads(self, layer: nn.Module, regions: Tensor) -> Tensor:
        """Return the projected regions of each head, (N,HEADS,K,C)."""
        batch, count, channels = regions.shape
        projected: Tensor = F.relu(layer(regions))
        return projected.reshape(batch, count, HEADS, channels).transpose(1, 2)


class RegionMLP(nn.Module):
    """Two linear layers with GELU between them, a residual and a layer norm: (N,K,C) -> (N,K,C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )

    def forward(self, regions: Tensor) -> Tensor:
        """Return the regions (N,K,C) for the next pass."""
        out: Tensor = self.norm(self.mlp(regions) + regions)
        return out


def cut_affinities(affinities: Tensor) -> Tensor:
    """Return affinities (N,K) with -10000 added below floor((least + mean) / 2) of each row (rule RPT-6)."""
    least = affinities.amin(dim=1, keepdim=True)
    cut = torch.floor((least + affinities.mean(dim=1, keepdim=True)) / 2)
    return torch.where(affinities < cut, affinities - 10_000.0, affinities)
