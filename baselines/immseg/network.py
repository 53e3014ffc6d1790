"""The network of I-MMSeg: an encoder and a decoder for each sequence, tied by sentences and by attention.

N slices, M sequences, K classes with background, H x W pixels, a multiple of 16. At full width with M = 3 and
K = 4 it has 75,922,994 parameters; the released program has 9,052,365 more that nothing uses.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.immseg.encoder import SequenceEncoder
from baselines.immseg.parts import (
    AttentionReducer,
    ClassModulation,
    Decoder,
    DynamicHead,
    Gate,
    conv_block,
    cross_attention,
    last_channels,
)

TEXT = 512  # numbers in the vector of a sentence
STRIDE = 16


@dataclass(frozen=True)
class Outputs:
    """Logits of the fused head (N,K,H,W) and, in training, of each sequence's head and its embeddings.

    `embeddings`: for each sequence, maps of stride 8, 4 and 2; `class_rows`: for each of these strides the
    vectors (K,D) of the class sentences.
    """

    fused: Tensor
    heads: tuple[Tensor, ...] = ()
    embeddings: tuple[tuple[Tensor, ...], ...] = ()
    class_rows: tuple[Tensor, ...] = ()


class IMMSegNetwork(nn.Module):
    """The whole network.

    Args:
        sequences: M.
        classes: K, with background.
        grid: rows and columns of the coarsest map, H/16 and W/16.
        width: factor of all channels; 1 is published.
        batch_mean: modulate by the mean over the batch, as published.
    """

    def __init__(
        self, sequences: int, classes: int, grid: tuple[int, int], width: float, batch_mean: bool
    ) -> None:
        super().__init__()
        base = 4 * max(1, round(16 * width))
        deep, features, small = 16 * base, 4 * base, base
        skips, places, count = (8 * base, 4 * base, base), grid[0] * grid[1], range(sequences)
        self.grid, self.sequences, self._batch_mean = grid, sequences, batch_mean
        self.encoders = nn.ModuleList(SequenceEncoder(base) for _ in count)
        self.text_to_vision = nn.Linear(TEXT, features)
        self.pooled = nn.ModuleList(nn.Conv2d(deep, features, 1) for _ in count)
        self.spatial = nn.ModuleList(Gate(2 * features, features, places) for _ in count)
        self.mixes = nn.ModuleList(conv_block(deep * sequences, deep, 1) for _ in count)
        self.decoders = nn.ModuleList(Decoder(base) for _ in count)
        self.class_text = nn.Linear(TEXT, features)
        self.reducers = nn.ModuleList(AttentionReducer(deep, small) for _ in count)
        self.text_to_weight = Gate(TEXT, 2 * small, small)
        self.blend = nn.ModuleList(Gate(2 * small, small, max(2, small // 2)) for _ in count)
        self.modulations = nn.ModuleList(ClassModulation(max(2, small // 2), classes) for _ in count)
        self.heads = nn.ModuleList(DynamicHead(base, features) for _ in count)
        self.embeds = nn.ModuleList(_embeddings(base) for _ in count)
        self.row_text = nn.ModuleList(nn.Linear(TEXT, out) for out in (4 * base, 2 * base, base))
        self.feature_fusion = nn.ModuleList(conv_block(skip * sequences, skip, 1) for skip in skips)
        last = last_channels(base)
        self.output_fusion = conv_block(last * sequences, last, 1)
        self.fused_head = DynamicHead(base, features)
        self.dropout = nn.Dropout(0.1)

    def forward(self, images: Tensor, modality_text: Tensor, class_text: Tensor) -> Outputs:
        """Return the outputs of images (N,M,H,W) in [0,1], with vectors (M,512) and (K,512) of sentences."""
        maps = [
            encoder(images[:, place, None].expand(-1, 3, -1, -1))
            for place, encoder in enumerate(self.encoders)
        ]
        deep = self._enhance([self.dropout(each[0]) for each in maps], modality_text)
        skips = [each[1:] for each in maps]
        decoded = [
            decoder(each, skip) for decoder, each, skip in zip(self.decoders, deep, skips, strict=True)
        ]
        classes = F.relu(self.class_text(class_text))
        fused_skips = [
            fuse(torch.cat([skip[level] for skip in skips], dim=1))
            for level, fuse in enumerate(self.feature_fusion)
        ]
        joined = self.output_fusion(torch.cat([each[-1] for each in decoded], dim=1))
        fused = self.fused_head(fused_skips, joined, classes[None])
        if not self.training:
            return Outputs(fused)
        return self.outputs_in_training(fused, deep, skips, decoded, modality_text, class_text)

    def outputs_in_training(
        self, fused: Tensor, deep: list[Tensor], skips: list[list[Tensor]], decoded: list[list[Tensor]],
        modality_text: Tensor, class_text: Tensor,
    ) -> Outputs:  # fmt: skip
        """Return the outputs with those of each sequence, which only a training reads."""
        classes = F.relu(self.class_text(class_text))
        weights = self.text_to_weight(modality_text)
        heads, embeddings = [], []
        for place, head in enumerate(self.heads):
            picture = self.reducers[place](deep[place])
            if self._batch_mean:
                picture = picture.mean(dim=0, keepdim=True)
            vector = torch.cat([weights[place].expand(len(picture), -1), picture], dim=-1)
            modulated = self.modulations[place](self.blend[place](vector), classes)
            heads.append(head(skips[place], decoded[place][-1], modulated))
            levels = zip(self.embeds[place], skips[place], strict=True)  # type: ignore[call-overload]
            embeddings.append(tuple(embed(skip) for embed, skip in levels))
        rows = tuple(row(class_text) for row in self.row_text)
        return Outputs(fused, tuple(heads), tuple(embeddings), rows)

    def _enhance(self, deep: list[Tensor], modality_text: Tensor) -> list[Tensor]:
        """Return the coarsest maps of all sequences, gated by their sentences and mixed across sequences."""
        priors = F.relu(self.text_to_vision(modality_text))
        gated = []
        for place, features in enumerate(deep):
            pooled = self.pooled[place](features.mean(dim=(2, 3), keepdim=True))[:, :, 0, 0]
            prior = priors[place].expand(len(pooled), -1)
            gate = self.spatial[place](torch.cat([prior, pooled], dim=-1))
            gated.append(features * gate.reshape(-1, 1, *self.grid))
        mixed = []
        for place, own in enumerate(gated):
            others = [cross_attention(own, other) for n, other in enumerate(gated) if n != place]
            mixed.append(self.mixes[place](torch.cat([own, *others], dim=1)))
        return mixed


def _embeddings(base: int) -> nn.ModuleList:
    """Return two 1x1 convolutions for each skip, into 4b, 2b and b channels."""
    pairs = ((8 * base, 4 * base), (4 * base, 2 * base), (base, base))
    return nn.ModuleList(
        nn.Sequential(nn.Conv2d(skip, out, 1), nn.ReLU(), nn.Conv2d(out, out, 1)) for skip, out in pairs
    )
