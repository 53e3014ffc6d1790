"""The networks of MPTPN: an encoder of picture and sentence, and a decoder of its three maps.

N pictures of S x S pixels, L words, D features of a word, C channels at full size (64 is published). The
parameters have the released names, as far as they are known. Rules MPTPN-1 to MPTPN-7 of docs/mptpn.md.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baselines.mptpn.layers import (
    DROPOUT,
    HEADS,
    ConvBlock,
    DownBlock,
    Expand,
    Merge,
    SequenceBlock,
    TransformerBlock,
    UpAttention,
)
from fewshot.base.errors import UserError

CHANNELS = 64  # at full width
CELL = 16  # pixels a side of a token
WORDS = 10  # words of a sentence that reach the network
FEATURES = 768  # of a word

Maps = tuple[Tensor, Tensor, Tensor]


def channels_of(width: float) -> int:
    """Return the channels at full size for a factor of width: a multiple of the number of heads."""
    return HEADS * max(1, round(CHANNELS * width / HEADS))


class Embeddings(nn.Module):
    """Patches of a map (N,C,h,w) as tokens (N,T,C) with learned positions, 0 at first."""

    def __init__(self, channels: int, patch: int, tokens: int) -> None:
        super().__init__()
        self.patch_embeddings = nn.Conv2d(channels, channels, patch, patch)
        self.position_embeddings = nn.Parameter(torch.zeros(1, tokens, channels))
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,h,w) -> (N,T,C)."""
        tokens: Tensor = self.patch_embeddings(x).flatten(2).transpose(1, 2)
        placed: Tensor = self.dropout(tokens + self.position_embeddings)
        return placed


class LevelTransformer(nn.Module):
    """The layers of one level on the way down or up; each way uses a part, the rest exists as published.

    `CTBN` halves the features, `CTBN2` halves those of the level below, `CTBN3` turns words into tokens.
    """

    def __init__(self, channels: int, patch: int, tokens: int) -> None:
        super().__init__()
        self.embeddings = Embeddings(channels, patch, tokens)
        self.norm = nn.LayerNorm(channels)
        self.Encoder_blocks = nn.Sequential(TransformerBlock(channels))
        self.head = nn.Linear(channels, 1)
        self.CTBN = SequenceBlock(channels, channels // 2)
        self.CTBN2 = SequenceBlock(2 * channels, channels)
        self.CTBN3 = SequenceBlock(WORDS, tokens)

    def down(self, x: Tensor, text: Tensor | None, above: Tensor | None) -> Tensor:
        """Return the tokens of a map (N,C,h,w).

        The first level adds the sentence (N,10,C) before its block. Another level halves its features and
        puts the tokens of the level above (N,T,C/2) behind.
        """
        tokens = self.embeddings(x)
        if text is not None:
            tokens = tokens + self.CTBN3(text)
        tokens = self.Encoder_blocks(tokens)
        if above is None:
            first: Tensor = tokens
            return first
        return torch.cat([self.CTBN(tokens.transpose(1, 2)).transpose(1, 2), above], dim=2)

    def up(self, tokens: Tensor, below: Tensor | None) -> Tensor:
        """Return (N,T,C) from the tokens of the way down (N,T,C) and those of the level below (N,T,2C)."""
        mixed: Tensor = self.Encoder_blocks(tokens)
        if below is None:
            return mixed
        added: Tensor = mixed + self.CTBN2(below.transpose(1, 2)).transpose(1, 2)
        return added


class Reconstruct(ConvBlock):
    """Tokens (N,T,C) as a map: each repeated on `scale` x `scale` pixels, then a 1x1 block."""

    def __init__(self, channels: int, scale: int) -> None:
        super().__init__(channels, channels, 1)
        self.scale = scale

    def forward(self, tokens: Tensor) -> Tensor:
        """(N,G*G,C) -> (N,C,scale G,scale G)."""
        number, length, channels = tokens.shape
        grid = int(length**0.5)
        coarse = tokens.transpose(1, 2).reshape(number, channels, grid, grid)
        # a 1x1 convolution treats every pixel alone, so it can come before the repetition; BatchNorm's
        # running variance differs by less than one cell in their number
        return super().forward(coarse).repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


class PromptEncoder(nn.Module):
    """Picture and sentence -> maps (N,C,S,S), (N,2C,S/2,S/2), (N,4C,S/4,S/4); 12,773,982 parameters.

    Args:
        side: pixels a side of a picture, a multiple of 16.
        channels: C, a multiple of 8.
        features: D, of a word's vector.
    """

    def __init__(self, side: int, channels: int = CHANNELS, features: int = FEATURES) -> None:
        super().__init__()
        if side < CELL or side % CELL:
            raise UserError(f"option side is {side}, expected a multiple of {CELL}")
        tokens, c = (side // CELL) ** 2, channels
        self.inc = ConvBlock(3, c)
        self.down1, self.down2 = DownBlock(c, 2 * c), DownBlock(2 * c, 4 * c)
        self.downVit = LevelTransformer(c, CELL, tokens)
        self.downVit1 = LevelTransformer(2 * c, CELL // 2, tokens)
        self.downVit2 = LevelTransformer(4 * c, CELL // 4, tokens)
        self.upVit = LevelTransformer(c, CELL, tokens)
        self.upVit1 = LevelTransformer(2 * c, CELL // 2, tokens)
        self.upVit2 = LevelTransformer(4 * c, CELL // 4, tokens)
        self.reconstruct1 = Reconstruct(c, CELL)
        self.reconstruct2 = Reconstruct(2 * c, CELL // 2)
        self.reconstruct3 = Reconstruct(4 * c, CELL // 4)
        self.text_module4 = nn.Conv1d(features, 8 * c, 3, padding=1)
        self.text_module3 = nn.Conv1d(8 * c, 4 * c, 3, padding=1)
        self.text_module2 = nn.Conv1d(4 * c, 2 * c, 3, padding=1)
        self.text_module1 = nn.Conv1d(2 * c, c, 3, padding=1)
        self.widths = (c, 2 * c, 4 * c)

    def forward(self, pictures: Tensor, words: Tensor) -> Maps:
        """Return the maps of pictures (N,3,S,S) in [0,1] and vectors of words (N,10,D)."""
        text = self.text_module2(self.text_module3(self.text_module4(words.transpose(1, 2))))
        text = self.text_module1(text).transpose(1, 2)
        x1 = self.inc(pictures)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        y1 = self.downVit.down(x1, text, None)
        y2 = self.downVit1.down(x2, None, y1)
        y3 = self.downVit2.down(x3, None, y2)
        u3 = self.upVit2.up(y3, None)
        u2 = self.upVit1.up(y2, u3)
        u1 = self.upVit.up(y1, u2)
        return x1 + self.reconstruct1(u1), x2 + self.reconstruct2(u2), x3 + self.reconstruct3(u3)


class PromptDecoder(nn.Module):
    """Maps of the encoder -> probabilities (N,K,S,S): fusion of three scales, two steps up, sigmoid.

    At full width with one output it has 7,616,255 parameters, 113,472 of them in four layers without use.
    """

    def __init__(self, outputs: int = 1, channels: int = CHANNELS) -> None:
        super().__init__()
        c = channels
        self.merge1, self.merge2, self.merge1_2 = Merge(c), Merge(2 * c), Merge(2 * c)
        self.expand2, self.expand3, self.expand3_2 = Expand(2 * c), Expand(4 * c), Expand(2 * c)
        self.patchExpand2, self.patchExpand21 = Expand(2 * c), Expand(6 * c)
        self.patchExpand32, self.patchExpand31 = Expand(12 * c), Expand(6 * c)
        self.up4, self.up3 = UpAttention(12 * c, 6 * c), UpAttention(6 * c, 3 * c)
        self.outc = nn.Conv2d(3 * c, outputs, 1)

    def fuse(self, maps: Maps) -> Maps:
        """Return maps (N,3C,S,S), (N,6C,S/2,S/2), (N,12C,S/4,S/4), each with all three scales."""
        x1, x2, x3 = maps
        halved, doubled = self.merge1(x1), self.expand3(x3)
        return (
            torch.cat([x1, self.expand2(x2), self.expand3_2(doubled)], dim=1),
            torch.cat([halved, x2, doubled], dim=1),
            torch.cat([self.merge1_2(halved), self.merge2(x2), x3], dim=1),
        )

    def forward(self, maps: Maps) -> Tensor:
        """Return probabilities (N,K,S,S)."""
        y1, y2, y3 = self.fuse(maps)
        return torch.sigmoid(self.outc(self.up3(self.up4(y3, y2), y1)))
