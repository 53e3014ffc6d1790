"""I-MMSeg: pathology of the myocardium from registered sequences, with sentences about their intensities.

A multi-sequence method: it trains on masks of the tested classes and takes no support. `variant=published`
keeps the faults of the released program; `corrected` mends them (docs/immseg.md names each). It differs from
the release in its sentence vectors, which are hashes of words unless a file of vectors is given, and in
running on any number of sequences, classes and devices. The release trains from random weights, as this does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.immseg.augmentation import augment
from baselines.immseg.losses import MOST_ANCHORS, anchors, class_labels, contrast, segmentation_loss
from baselines.immseg.network import STRIDE, IMMSegNetwork, Outputs
from baselines.immseg.sentences import (
    Prior,
    class_sentences,
    modality_sentences,
    text_vectors,
    with_prior,
)
from baselines.pictures import check_network_size
from fewshot.base.errors import UserError, unknown_name
from fewshot.base.precision import in_float32
from fewshot.base.seeds import seed_for
from fewshot.base.types import LabelledBatch
from fewshot.identity.regimes import Needs
from fewshot.learners.learner import LossResult
from fewshot.learners.recipe import Recipe
from fewshot.regimes.supervised import SupervisedLearner

NO_ENCODER = "immseg"  # name of the encoder: the method has its own, one for each sequence
FUSED_FROM, CONTRAST_FROM = 100, 21  # epochs
BACKGROUND = frozenset({0})
# classes without anchors of the contrast, by sequence; another sequence leaves out the background
UNCONTRASTED = {"bSSFP": ("scar", "edema")}


@dataclass(frozen=True)
class IMMSegOptions:
    """Options of I-MMSeg; the defaults are published, but for the hash vectors."""

    variant: Literal["published", "corrected"] = "corrected"
    sequences: tuple[str, ...] = ("bSSFP", "LGE", "T2w")  # names of the store's channels, in its order
    left_out: tuple[str, ...] = ()  # sequences that the network does not see
    side: int = 128  # pixels a side of the network's pictures
    width: float = 1.0  # factor of all channels
    text: str = "hash"  # or a file of vectors (.npz), or the folder of a CLIP text model
    modality_sentences: str = ""  # separated by |; "": the shipped ones
    class_sentences: str = ""
    prior: Prior = "true"
    epoch_steps: int = 41  # steps of an epoch, for the schedule of the losses
    augmentation: bool = True

    def __post_init__(self) -> None:
        check_network_size(self.side, STRIDE, self.width)
        if self.epoch_steps < 1:
            raise UserError(f"option epoch_steps is {self.epoch_steps}, expected 1 or more")
        if not self.sequences or len(set(self.sequences)) != len(self.sequences):
            raise UserError(f"option sequences is {','.join(self.sequences)!r}, expected different names")
        for name in self.left_out:
            if name not in self.sequences:
                raise unknown_name("sequence in left_out", name, self.sequences)
        if not self.seen:
            raise UserError("option left_out names every sequence, expected at least one that stays")

    @property
    def seen(self) -> tuple[str, ...]:
        """The sequences that the network sees."""
        return tuple(name for name in self.sequences if name not in self.left_out)


class OwnEncoders(nn.Module):
    """Stands where other methods have an encoder; `name` is "immseg" and `backbone` has no weight."""

    def __init__(self, name: str) -> None:
        super().__init__()
        if name != NO_ENCODER:
            raise UserError(f"immseg has encoders of its own, found encoder {name!r}; use --encoder immseg")
        self.name = name
        self.backbone = nn.Identity()


class IMMSeg(SupervisedLearner):
    """One network for all tested classes and background; a mask is where its class has the largest logit."""

    version: ClassVar[int] = 1
    regime: ClassVar[str] = "multi-sequence"
    needs: ClassVar[Needs] = Needs(labels="target", channels=0)
    optimizer = "adamw"
    ablations: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "true priors": {},
        "shuffled priors": {"prior": "shuffled"},
        "constant prior": {"prior": "constant"},
    }

    Options = IMMSegOptions  # type: ignore[assignment]
    options: IMMSegOptions

    def __init__(self, encoder: nn.Module, options: IMMSegOptions | None, classes: tuple[str, ...]) -> None:
        super().__init__(encoder, options, classes)
        chosen, self._step = self.options, 0
        names = chosen.sequences
        grid = (chosen.side // STRIDE, chosen.side // STRIDE)
        self.network = IMMSegNetwork(
            len(chosen.seen), len(classes) + 1, grid, chosen.width, chosen.variant == "published"
        )
        modality = text_vectors(names, modality_sentences(names, chosen.modality_sentences), chosen.text)
        places = [names.index(name) for name in chosen.seen]
        written = class_sentences(classes, chosen.class_sentences)
        self.register_buffer("modality_text", with_prior(modality, chosen.prior)[places])
        self.register_buffer("class_text", text_vectors(("background", *classes), written, chosen.text))
        self._places = places
        self._uncontrasted = [
            frozenset(classes.index(one) + 1 for one in UNCONTRASTED[name] if one in classes)
            if name in UNCONTRASTED else BACKGROUND
            for name in chosen.seen
        ]  # fmt: skip

    @classmethod
    def new_encoder(cls, name: str, seed: int) -> nn.Module:
        """Return a module without weights: the network has its own encoders; `name` must be immseg."""
        return OwnEncoders(name)

    @classmethod
    def recipe(cls) -> Recipe:
        """Return the published training: AdamW, 300 epochs of 41 steps with 48 slices, polynomial decay."""
        return Recipe(
            steps=12_300, learning_rate=1e-3, momentum=0.9, weight_decay=1e-4, decay=0.9, decay_every=0,
            snapshot_every=820, batch=48, augmentation="none", encoder=NO_ENCODER, weights="random",
        )  # fmt: skip

    def begin_step(self, step: int) -> None:
        """Note the step, from 0, which decides the schedule of the losses and all draws."""
        self._step = step

    def pictures(self, images: Tensor) -> Tensor:
        """Return the seen channels (N,M,S,S) of images (N,C,H,W), each scaled to [0,1] by its own extremes.

        Raises `UserError` for another number of channels than `sequences` names.
        """
        chosen = self.options
        if images.shape[1] != len(chosen.sequences):
            raise UserError(
                f"immseg found {images.shape[1]} channels, expected {len(chosen.sequences)} "
                f"({', '.join(chosen.sequences)}); name the dataset's channels by --option sequences=NAME,..."
            )
        seen = images[:, self._places]
        if seen.shape[-2:] != (chosen.side, chosen.side):
            seen = F.interpolate(seen, size=(chosen.side,) * 2, mode="bilinear", align_corners=False)
        least, most = seen.amin(dim=(2, 3), keepdim=True), seen.amax(dim=(2, 3), keepdim=True)
        return (seen - least) / torch.where(most > least, most - least, 1.0)

    def forward(self, images: Tensor) -> Outputs:
        """Return the network's outputs for images (N,C,H,W), at `side` x `side` pixels."""
        return self._outputs(self.pictures(images))

    def loss(self, batch: LabelledBatch) -> LossResult:
        """Return the losses of a step: those of the sequences' heads, and later the fused head's.

        Epoch 100 on: fused + 0.5 heads + 0.05 contrast; before: heads + 0.1 contrast, from epoch 21 on.
        """
        chosen, epoch = self.options, self._step // self.options.epoch_steps
        pictures, target = self.pictures(batch.images), self._target(batch.masks)
        if chosen.augmentation:
            pictures, target = augment(pictures, target, self._step, chosen.variant == "published")
        outputs = self._outputs(pictures)
        with in_float32(batch.images.device):
            fused = segmentation_loss(outputs.fused.float(), target)
            heads = torch.stack([segmentation_loss(head.float(), target) for head in outputs.heads]).sum()
            likeness = fused.new_zeros(())
            if epoch >= CONTRAST_FROM:
                likeness = self._contrast(outputs, target)
            late = epoch >= FUSED_FROM
            total = fused + 0.5 * heads + 0.05 * likeness if late else heads + 0.1 * likeness
        parts = {"fused": fused, "heads": heads, "contrast": likeness}
        return LossResult(total, parts, torch.ones_like(fused, dtype=torch.bool), torch.zeros_like(fused))

    def class_probabilities(self, images: Tensor) -> Tensor:
        """Return (N,K,H,W), 1 where a class has the largest logit of the fused head, else 0."""
        logits = self(images).fused.float()
        if logits.shape[-2:] != images.shape[-2:]:
            logits = F.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=False)
        best = logits.argmax(dim=1)
        return F.one_hot(best, logits.shape[1]).movedim(-1, 1)[:, 1:].float()

    def _outputs(self, pictures: Tensor) -> Outputs:
        outputs: Outputs = self.network(pictures, self.modality_text, self.class_text)
        return outputs

    def _target(self, masks: Tensor) -> Tensor:
        """Return the class of each pixel (N,S,S), 0 for none, of masks (N,K,H,W)."""
        side = self.options.side
        classes = torch.arange(1, masks.shape[1] + 1, device=masks.device)[:, None, None]
        target = (masks * classes).amax(dim=1)
        if target.shape[-2:] != (side, side):
            target = F.interpolate(target[:, None].float(), size=(side, side), mode="nearest")[:, 0].long()
        return target

    def _contrast(self, outputs: Outputs, target: Tensor) -> Tensor:
        """Return the mean over sequences of the sum over three strides of the contrast."""
        generator = torch.Generator().manual_seed(seed_for("immseg-anchors", self._step))
        total = outputs.fused.new_zeros((), dtype=torch.float32)
        for maps, ignored in zip(outputs.embeddings, self._uncontrasted, strict=True):
            for embedding, rows, most in zip(maps, outputs.class_rows, MOST_ANCHORS, strict=True):
                vectors, labels = anchors(embedding.float(), target, ignored, most, generator)
                if len(vectors):
                    texts = class_labels(len(rows), len(self.classes) + 1)
                    together = torch.cat([labels, texts]).to(vectors.device)
                    total = total + contrast(torch.cat([vectors, rows.float()]), together)
        return total / len(outputs.embeddings)
