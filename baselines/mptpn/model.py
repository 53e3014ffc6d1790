"""MPTPN: an encoder of picture and sentence, and a decoder that fuses its three scales.

"MPTPN", multiscale progressive text prompt network. A text-supervised method: it trains on masks of the
tested classes, and every slice has a sentence. `variant=published` keeps the behaviour of the released
program (docs/mptpn.md names each fault); `variant=corrected` mends it. Stage 1 is `fewshot pretrain simsiam`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.mptpn.losses import cross_entropy, dice_loss
from baselines.mptpn.network import CHANNELS, FEATURES, Maps, PromptDecoder, PromptEncoder
from baselines.mptpn.text import TextEncoder, text_encoder
from baselines.pictures import scaled_pictures
from fewshot.base.errors import UserError
from fewshot.base.precision import in_float32
from fewshot.base.seeds import seed_for
from fewshot.base.types import LabelledBatch
from fewshot.learners.learner import LossResult
from fewshot.learners.options import PATH
from fewshot.learners.recipe import Recipe
from fewshot.regimes.text_supervised import TextSupervisedLearner

NAME = re.compile(r"ppe(?:-s(\d+))?(?:-c(\d+))?(?:-d(\d+))?")
SIDE = 224  # pixels a side of a published picture
KEPT = 4096  # sentences whose vectors stay in memory


class NamedPromptEncoder(nn.Module):
    """The encoder by name: "ppe" is published; "ppe-s96-c8-d768" names side, channels and word features."""

    def __init__(self, name: str, seed: int) -> None:
        super().__init__()
        found = NAME.fullmatch(name)
        if found is None:
            raise UserError(
                f"encoder {name!r}: expected ppe, or with side, channels and word features behind it, "
                "such as ppe-s96-c8-d768"
            )
        side, channels, features = (
            int(text or default)
            for text, default in zip(found.groups(), (SIDE, CHANNELS, FEATURES), strict=True)
        )
        if not 8 <= channels <= 256 or channels % 8:
            raise UserError(f"encoder {name!r}: {channels} channels, expected a multiple of 8 from 8 to 256")
        if not 1 <= features <= 4096 or side > 1024:
            raise UserError(
                f"encoder {name!r}: expected up to 1024 pixels a side and 1 to 4096 word features"
            )
        self.name, self.side, self.channels, self.features = name, side, channels, features
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for("prompt-encoder", name, seed))
            self.backbone = PromptEncoder(side, channels, features)

    def forward(self, pictures: Tensor, words: Tensor) -> Maps:
        """Return the maps of pictures (N,3,S,S) and words (N,10,D)."""
        maps: Maps = self.backbone(pictures, words)
        return maps


@dataclass(frozen=True)
class MPTPNOptions:
    """Options of MPTPN. `encoder_regime`: "variant" is frozen_random if published, else train."""

    variant: Literal["published", "corrected"] = "corrected"
    encoder_regime: Literal["variant", "train", "frozen_pretrained", "frozen_random"] = "variant"
    text: Literal["hash", "cached", "bert"] = "hash"
    text_file: str = field(default="", metadata=PATH)  # npz file of cached, folder of bert
    sentences: Literal["stored", "classes", "positions"] = "stored"

    def __post_init__(self) -> None:
        if self.text == "hash" and self.text_file:
            raise UserError(
                f"option text_file={self.text_file} is for text=cached or text=bert; leave it out"
            )
        if self.encoder_regime == "variant":
            chosen = "frozen_random" if self.variant == "published" else "train"
            object.__setattr__(self, "encoder_regime", chosen)


class MPTPN(TextSupervisedLearner):
    """Encoder and decoder, one output for each tested class."""

    version: ClassVar[int] = 1
    optimizer = "adam"
    Options = MPTPNOptions  # type: ignore[assignment]
    options: MPTPNOptions
    encoder: NamedPromptEncoder

    def __init__(self, encoder: nn.Module, options: MPTPNOptions | None, classes: tuple[str, ...]) -> None:
        super().__init__(encoder, options, classes)
        self.decoder = PromptDecoder(len(classes), self.encoder.channels)
        self._frozen = self.options.encoder_regime != "train"
        if self._frozen:
            self.encoder.requires_grad_(False)
        self._text = text_encoder(self.options.text, self.options.text_file, self.encoder.features)
        self._vectors: dict[str, Tensor] = {}

    @classmethod
    def new_encoder(cls, name: str, seed: int) -> NamedPromptEncoder:
        """Return the encoder `name`, with random weights fixed by `name` and `seed`."""
        return NamedPromptEncoder(name, seed)

    @classmethod
    def recipe(cls) -> Recipe:
        """Return the published training: Adam, 1e-4 at every step, batch 1, 2,000 epochs of 24 pictures.

        The released program turns and flips pictures whatever their sentence says. Here none is turned, since
        left and right in a sentence would become false.
        """
        return Recipe(
            steps=48_000, learning_rate=1e-4, momentum=0.9, weight_decay=0.0, decay=1.0, decay_every=48_000,
            snapshot_every=4_800, batch=1, augmentation="none", encoder="ppe", weights="random",
        )  # fmt: skip

    @staticmethod
    def default_weights(encoder: str) -> str:
        """Return the first weights of an encoder that no option names: there are no published ones."""
        return "random"

    @classmethod
    def check_start(cls, options: MPTPNOptions, weights: str) -> None:
        """Raise `UserError` if the encoder's regime does not fit its first weights."""
        regime = options.encoder_regime
        if (regime == "frozen_pretrained") == (weights == "random") and regime != "train":
            need = "a file of `fewshot pretrain simsiam`" if regime == "frozen_pretrained" else "random"
            raise UserError(
                f"mptpn with encoder_regime={regime} begins with {weights} weights, expected {need}; give "
                "--weights, or another encoder_regime"
            )

    @classmethod
    def sentence_vectors(cls, text: str, text_file: str, features: int) -> TextEncoder:
        """Return what turns a sentence into vectors (10,D); arguments as the options of these names."""
        return text_encoder(text, text_file, features)

    def train(self, mode: bool = True) -> MPTPN:
        """Set the mode; a frozen encoder of the corrected variant stays in evaluation mode."""
        super().train(mode)
        if self._frozen and self.options.variant == "corrected":
            self.encoder.eval()
        return self

    def loss(self, batch: LabelledBatch) -> LossResult:
        """Return half the balanced cross-entropy plus half the Dice loss of the batch."""
        probabilities = self._forward(batch.images, batch.sentences)
        with in_float32(batch.images.device):
            masks = batch.masks.float()
            side = self.encoder.side
            if masks.shape[-2:] != (side, side):
                masks = F.interpolate(masks, size=(side, side), mode="bilinear", align_corners=False)
                masks = (masks > (0 if self.options.variant == "published" else 0.5)).float()
            parts = {
                "cross_entropy": cross_entropy(probabilities.float(), masks),
                "dice": dice_loss(probabilities.float(), masks),
            }
        total = 0.5 * parts["cross_entropy"] + 0.5 * parts["dice"]
        defined = torch.ones((), dtype=torch.bool, device=total.device)
        return LossResult(
            total, {name: one.detach() for name, one in parts.items()}, defined, (~defined).sum()
        )

    def class_probabilities(self, images: Tensor, sentences: Sequence[str] = ()) -> Tensor:
        """Return probabilities (N,K,H,W) of images (N,C,H,W) with a sentence each.

        Published: BatchNorm uses the statistics of each picture alone, as the released test does.
        """
        if self.options.variant == "published":
            with _own_statistics(self):
                each = [self._forward(images[n : n + 1], sentences[n : n + 1]) for n in range(len(images))]
            found = torch.cat(each).float()
        else:
            found = self._forward(images, sentences).float()
        size = (images.shape[-2], images.shape[-1])
        if found.shape[-2:] != size:
            found = F.interpolate(found, size=size, mode="bilinear", align_corners=False)
        return found

    def _forward(self, images: Tensor, sentences: Sequence[str]) -> Tensor:
        """Return probabilities (N,K,S,S) at the encoder's side."""
        if len(sentences) != len(images):
            raise ValueError(f"{len(sentences)} sentences for {len(images)} images, expected one each")
        words = self.words(sentences).to(images.device)
        maps = self.encoder(scaled_pictures(images, self.encoder.side, "mptpn"), words)
        probabilities: Tensor = self.decoder(maps)
        return probabilities

    def words(self, sentences: Sequence[str]) -> Tensor:
        """Return the vectors of sentences, (N,10,D) float32 on the CPU."""
        for sentence in sentences:
            if sentence not in self._vectors:
                if len(self._vectors) >= KEPT:
                    self._vectors.clear()
                self._vectors[sentence] = torch.from_numpy(np.ascontiguousarray(self._text(sentence)))
        return torch.stack([self._vectors[sentence] for sentence in sentences])


@contextmanager
def _own_statistics(network: nn.Module) -> Iterator[None]:
    """Let BatchNorm use the statistics of its input, without a change of its running ones."""
    layers: list[Any] = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]
    before = [(layer.training, layer.track_running_stats) for layer in layers]
    try:
        for layer in layers:
            layer.training, layer.track_running_stats = True, False
        yield
    finally:
        for layer, (training, tracks) in zip(layers, before, strict=True):
            layer.training, layer.track_running_stats = training, tracks
