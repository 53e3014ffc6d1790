"""TMUnet: a U-Net whose decoder is gated by a boundary head and by the attention of patches.

Azad, Heidari, Wu & Merhof, "Contextual Attention Network: Transformer Meets U-Net", 2022, arXiv 2203.01932.
A supervised method: it trains on masks of the tested classes and takes no support. `variant=published` keeps
the faults of the released program; `variant=corrected` mends them (docs/supervised.md names each). ResNet-50
weights and published checkpoints are the user's files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from baselines.pictures import check_network_size, scaled_pictures
from baselines.tmunet.losses import WEIGHTS, boundary_loss, context_loss, mask_loss
from baselines.tmunet.network import Outputs, TMUnetNetwork, Trunk
from baselines.tmunet.published_names import load_published, published_name
from fewshot.base.errors import UserError
from fewshot.base.precision import in_float32
from fewshot.base.types import LabelledBatch
from fewshot.identity.regimes import Needs
from fewshot.learners.learner import LossResult
from fewshot.learners.recipe import Recipe
from fewshot.regimes.supervised import SupervisedLearner

PICTURE_TOP = 255  # value of the largest pixel of a picture
STRIDE = 32  # pixels of a picture for one pixel of the coarsest map


@dataclass(frozen=True)
class TMUnetOptions:
    """Options of TMUnet; the defaults are published."""

    variant: Literal["published", "corrected"] = "corrected"
    side: int = 256  # pixels a side of the network's pictures
    width: float = 1.0  # factor of all channels outside the ResNet
    foreground_weight: float = 1.0  # of foreground pixels in the cross-entropy of the masks
    boundary: bool = True
    transformer: bool = True
    threshold: float = 0.43
    opening: int = 6  # side of the square that opens masks and fills their holes; 0: neither

    def __post_init__(self) -> None:
        check_network_size(self.side, STRIDE, self.width)
        if self.foreground_weight <= 0:
            raise UserError(f"option foreground_weight is {self.foreground_weight}, expected above 0")
        if not 0 < self.threshold < 1:
            raise UserError(f"option threshold is {self.threshold}, expected between 0 and 1")
        if self.opening < 0:
            raise UserError(f"option opening is {self.opening}, expected 0 or more")


class TMUnet(SupervisedLearner):
    """The network with one output for each tested class; context and boundary are those of their union."""

    version: ClassVar[int] = 1
    needs: ClassVar[Needs] = Needs(labels="target", channels=0)
    optimizer = "adam"
    ablations: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "full": {},
        "no boundary": {"boundary": "false"},
        "no transformer": {"transformer": "false"},
        "neither": {"boundary": "false", "transformer": "false"},
    }

    Options = TMUnetOptions  # type: ignore[assignment]
    options: TMUnetOptions
    encoder: Trunk

    def __init__(self, encoder: nn.Module, options: TMUnetOptions | None, classes: tuple[str, ...]) -> None:
        super().__init__(encoder, options, classes)
        chosen = self.options
        self.network = TMUnetNetwork(
            self.encoder.widths, chosen.side, chosen.width, len(classes), chosen.variant == "published",
            chosen.boundary, chosen.transformer,
        )  # fmt: skip

    @classmethod
    def new_encoder(cls, name: str, seed: int) -> Trunk:
        """Return the plain ResNet `name`, stride 32, with random weights fixed by `name` and `seed`."""
        return Trunk(name, seed)

    @classmethod
    def recipe(cls) -> Recipe:
        """Return the published training: Adam, batch 4, 50 epochs of the 1,815 pictures of ISIC 2018.

        The published rate halves after ten epochs without a better validation loss. Here it halves every ten
        epochs, so that a training depends on its training scans alone.
        """
        return Recipe(
            steps=22_700, learning_rate=1e-4, momentum=0.9, weight_decay=0.0, decay=0.5, decay_every=4_540,
            snapshot_every=2_270, batch=4, augmentation="flip", encoder="resnet50", weights="imagenet",
        )  # fmt: skip

    def forward(self, images: Tensor) -> Outputs:
        """Return the network's outputs for images (N,C,H,W), at `side` x `side` pixels."""
        return self.forward_pictures(scaled_pictures(images, self.options.side, "tmunet", PICTURE_TOP))

    def forward_pictures(self, pictures: Tensor) -> Outputs:
        """Return the network's outputs for pictures (N,3,S,S) in [0,255]."""
        outputs: Outputs = self.network(pictures, self.encoder(pictures))
        return outputs

    def loss(self, batch: LabelledBatch) -> LossResult:
        """Return 0.7 masks + 0.1 context + 0.2 boundary, means over the pictures of the batch.

        In the published form a picture without foreground has no context target (0/0), so it has no loss.
        """
        outputs = self(batch.images)
        side = self.options.side
        with in_float32(batch.images.device):
            masks = batch.masks.float()
            if masks.shape[-1] != side or masks.shape[-2] != side:
                masks = F.interpolate(masks, size=(side, side), mode="bilinear", align_corners=False)
            union = masks.amax(dim=1, keepdim=True)
            zero = masks.new_zeros(len(masks))
            each = torch.stack(
                [
                    mask_loss(outputs.masks.float(), masks, self.options.foreground_weight),
                    zero if outputs.coefficients is None
                    else context_loss(outputs.coefficients.float(), union),
                    zero if outputs.boundary is None else boundary_loss(outputs.boundary.float(), union),
                ]
            )  # fmt: skip
            defined = union.flatten(1).amax(dim=1) > 0
            if self.options.variant == "corrected":
                defined = torch.ones_like(defined)
            kept = torch.where(defined, each, 0.0).sum(dim=1) / defined.sum().clamp(min=1)
            weighted = kept * kept.new_tensor(WEIGHTS)
        return LossResult(
            total=weighted.sum(),
            parts=dict(zip(("masks", "context", "boundary"), kept, strict=True)),
            defined=defined.any(),
            skipped=(~defined).sum(),
        )

    def class_probabilities(self, images: Tensor) -> Tensor:
        """Return (N,K,H,W): 0 or 1 after threshold, opening and filling.

        Without an opening they are probabilities, shifted so that the threshold is at 0.5.
        """
        chosen = self.options
        found: Tensor = self(images).masks.float()
        size = (images.shape[-2], images.shape[-1])
        if found.shape[-2:] != size:
            found = F.interpolate(found, size=size, mode="bilinear", align_corners=False)
        if not chosen.opening:
            return found - chosen.threshold + 0.5
        masks = (found > chosen.threshold).cpu().numpy()
        cleaned = np.stack([[clean_mask(mask, chosen.opening) for mask in each] for each in masks])
        return torch.from_numpy(cleaned).to(images.device).float()

    def load_published(self, path: Path) -> None:
        """Load a checkpoint of the released program, or one of ours; `UserError` unless every name fits."""
        load_published(path, self)

    @staticmethod
    def published_name(name: str) -> str:
        """Return the released program's name of a parameter."""
        return published_name(name)


def clean_mask(mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Return a mask (H,W) bool after an opening with a square and a filling of holes with the same square."""
    square = np.ones((side, side), dtype=bool)
    opened = ndimage.binary_opening(mask, square)
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(opened, square)
    return filled
