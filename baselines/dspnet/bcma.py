"""BCMA, DSPNet's background channel-structural multi-head attention: a learnt matrix over channels.

Tang et al., "DSPNet: Dual Semantic Prototypes Network for Few-shot Medical Image Segmentation", Medical
Image Analysis 2025, arXiv 2406.18074. As released, it acts on the cells of both classes and in both branches.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baselines.dspnet.fspa import steep_softmax


class ChannelAttention(nn.Module):
    """BCMA: cells times the matrix `cal` (C,C), whose entries beside the diagonal grow with structure."""

    neighbours: Tensor

    def __init__(self, channels: int, w: tuple[float, ...]) -> None:
        super().__init__()
        self.cal = nn.Parameter(banded(channels, w))
        self.register_buffer("neighbours", banded(channels, (1.0, 1.0, 1.0)), persistent=False)

    def forward(self, cells: Tensor, alphas: tuple[float, ...]) -> tuple[Tensor, ...]:
        """Return W X for each alpha, of the cells of every shot (S,n,C), X being their transpose.

        W = (1 + alpha * T * M) * cal elementwise, M = softmax over the second index of X X^T, T three
        diagonals of ones but for the first and last row, which are the identity's.
        """
        structure = self.neighbours * steep_softmax(cells.mT @ cells)
        return tuple(cells @ ((1 + alpha * structure) * self.cal).mT for alpha in alphas)


def banded(channels: int, w: tuple[float, ...]) -> Tensor:
    """Return (C,C) float32 with `w` left of, on and right of the diagonal; first and last rows identity."""
    left, own, right = w
    matrix = torch.diag(torch.full((channels,), own))
    matrix += torch.diag(torch.full((channels - 1,), left), -1)
    matrix += torch.diag(torch.full((channels - 1,), right), 1)
    matrix[[0, -1]] = torch.eye(channels)[[0, -1]]
    return matrix
