"""The patch branch of TMUnet: tokens of patches, a transformer, and maps painted from its tokens.

N pictures, G x G patches, E token features. Rules TMUNET-1 to TMUNET-4 of docs/supervised.md.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

HEADS = 8
DEPTH = 4
PATCH = 16  # side of a patch in pixels


class PatchEmbedding(nn.Sequential):
    """Patches (M,3,16,16) -> features (M,E): three pairs of convolutions with poolings, then the mean."""

    def __init__(self, features: int) -> None:
        widths = (3, features // 4, features // 2, features)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            for channels in (inputs, outputs):
                layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Attention(nn.Module):
    """Self-attention of tokens (N,T,E) with 8 heads.

    `after_softmax`: the published form, which divides the softmax of raw products by the square root of E, so
    the weights of a token add up to 1/sqrt(E). Else the products are divided by the square root of a head's
    features before the softmax.
    """

    def __init__(self, features: int, after_softmax: bool) -> None:
        super().__init__()
        self.qkv = nn.Linear(features, 3 * features)
        self.projection = nn.Linear(features, features)
        self._after_softmax = after_softmax

    def forward(self, tokens: Tensor) -> Tensor:
        """(N,T,E) -> (N,T,E)."""
        number, length, features = tokens.shape
        size = features // HEADS
        # the outputs of the linear layer lie in the order head, feature, (query, key, value)
        packed = self.qkv(tokens).reshape(number, length, HEADS, size, 3).permute(4, 0, 2, 1, 3)
        query, key, value = packed.unbind(0)
        products = query @ key.transpose(-2, -1)
        if self._after_softmax:
            weights = products.softmax(dim=-1) / features**0.5
        else:
            weights = (products / size**0.5).softmax(dim=-1)
        mixed = (weights @ value).transpose(1, 2).reshape(number, length, features)
        projected: Tensor = self.projection(mixed)
        return projected


class TransformerBlock(nn.Module):
    """A pre-norm transformer block with a feed-forward layer of four times the width."""

    def __init__(self, features: int, after_softmax: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(features)
        self.attention = Attention(features, after_softmax)
        self.norm2 = nn.LayerNorm(features)
        self.feed_forward = nn.Sequential(
            nn.Linear(features, 4 * features), nn.GELU(), nn.Linear(4 * features, features)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(N,T,E) -> (N,T,E)."""
        tokens = tokens + self.attention(self.norm1(tokens))
        mixed: Tensor = tokens + self.feed_forward(self.norm2(tokens))
        return mixed


class PatchTransformer(nn.Module):
    """Pictures (N,3,S,S) -> tokens (N,1+G*G,E): a class token, then the patches row by row; G = S/16."""

    def __init__(self, side: int, features: int, after_softmax: bool) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, features))
        self.positions = nn.Parameter(torch.randn((side // PATCH) ** 2 + 1, features))
        self.embedding = PatchEmbedding(features)
        self.blocks = nn.Sequential(*(TransformerBlock(features, after_softmax) for _ in range(DEPTH)))

    def forward(self, pictures: Tensor) -> Tensor:
        """(N,3,S,S) -> (N,1+G*G,E)."""
        number, channels, side, _ = pictures.shape
        grid = side // PATCH
        patches = pictures.reshape(number, channels, grid, PATCH, grid, PATCH).permute(0, 2, 4, 1, 3, 5)
        features = self.embedding(patches.reshape(-1, channels, PATCH, PATCH)).reshape(number, grid**2, -1)
        tokens = torch.cat([self.cls_token.expand(number, -1, -1), features], dim=1) + self.positions
        mixed: Tensor = self.blocks(tokens)
        return mixed


class DependencyMap(nn.Module):
    """Paint tokens on their cells: maps `beta` and `gamma`, and the coefficient of each token.

    `drop_class_token` False is the published form: cell 0 has the class token and every other cell the patch
    before it, so the last patch is on no cell.
    """

    def __init__(self, features: int, outputs: int, drop_class_token: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(features, outputs, 1)
        self.bn = nn.BatchNorm2d(outputs)
        self._drop = drop_class_token

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return beta and gamma of tokens (N,1+G*G,E) at 16 x 16 pixels a cell, and the coefficients.

        beta (N,outputs,S,S) and gamma (N,1,S,S) in [0,1]; coefficients (N,T,1), T tokens with the class token
        if it is painted.
        """
        kept = tokens[:, 1:] if self._drop else tokens
        cells = tokens[:, 1:] if self._drop else tokens[:, :-1]
        number, length, _ = cells.shape
        grid = int(length**0.5)
        coarse = cells.transpose(1, 2).reshape(number, -1, grid, grid)
        # convolution, BatchNorm and sigmoid treat every pixel alone, and the pixels of a cell are equal, so
        # cells suffice; only the running variance differs, by less than one cell in their number
        beta = torch.sigmoid(self.bn(self.conv(coarse)))
        gamma = torch.sigmoid(coarse.mean(dim=1, keepdim=True))
        coefficients = torch.sigmoid(kept.mean(dim=2, keepdim=True))
        return _paint(beta), _paint(gamma), coefficients


def _paint(cells: Tensor) -> Tensor:
    """Repeat each cell (N,C,G,G) on its 16 x 16 pixels: (N,C,16 G,16 G)."""
    return cells.repeat_interleave(PATCH, dim=2).repeat_interleave(PATCH, dim=3)
