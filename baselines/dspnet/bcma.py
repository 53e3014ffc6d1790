"""BCMA, DSPNet's background channel-structural multi-head attention: a learnt matrix over channels.

Tang et al., "DSPNet: Dual Semantic Prototypes Network for Few-shot Medical Image Segmentation", Medical
Image Analysis 2025, arXiv 2406.18074. As in the release, it acts on the cells of both classes in both
branches.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baselines.dspnet.fspa import steep_softmax


class ChannelAttention(nn.Module):
    """BCMA: cells times the matrix `cal` (C,C); its entries beside the diagonal grow with structure."""

    neighbours: Tensor

    def __init__(self, channels: int, w: tuple[float, ...]) -> None:
        super().__init__()
        self.cal = nn.Parameter(banded_matrix(channels, w))
        self.register_buffer("neighbours", banded_matrix(channels, (1.0, 1.0, 1.0)), persistent=False)

    def forward(self, cells: Tensor, alphas: tuple[float, ...]) -> tuple[Tensor, ...]:
        """Return W X for each alpha; X is the transpose of the cells (S,n,C) of each shot.

        W = (1 + alpha * T * M) * cal elementwise. M is the softmax over the second index of X X^T. T has ones
        on three diagonals, except in its first and last rows, which are those of the identity.

        Args:
            cells: (S,n,C).
            alphas: weights of the channel structure.

        Returns:
            (S,n,C) for each alpha.
        """
        structure = self.neighbours * steep_softmax(cells.mT @ cells)
        return tuple(cells @ ((1 + alpha * structure) * self.cal).mT for alpha in alphas)


def banded_matrix(channels: int, w: tuple[float, ...]) -> Tensor:
    """Return (C,C) float32 with `w` left of, on and right of the diagonal; first and last rows identity."""
    left, middle, right = w
    matrix = torch.diag(torch.full((channels,), middle))
    matrix += torch.diag(torch.full((channels - 1,), left), -1)
    matrix += torch.diag(torch.full((channels - 1,), right), 1)
    matrix[[0, -1]] = torch.eye(channels)[[0, -1]]
    return matrix
