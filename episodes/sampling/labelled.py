"""Batches of labelled training slices for supervised learners: every slice once an epoch, in random order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch

from episodes.store.slices import SliceReader
from fewshot.base.errors import UserError, unknown_name
from fewshot.base.seeds import seed_for
from fewshot.base.types import LabelledBatch, SliceRef

AUGMENTATIONS = ("flip", "none")  # "flip": left to right with probability 1/2; "none": as stored


class LabelledSlices:
    """Draws batches of labelled slices; a batch depends only on seed and step.

    Args:
        reader: of the store of the training.
        slices: the training slices.
        values: stored value of each tested class, in the order of the learner's outputs.
        channels: number of channels of an image; 1: the grey slice.
        points: names of the landmarks that a batch holds; () for none.
        seed: of all draws.
        batch: slices a step.
        augmentation: one of `AUGMENTATIONS`.
        sentences: kind of the slices' sentences (`episodes.store.sentences.KINDS`); "": none.

    Raises:
        UserError: unknown augmentation, or no slice.
    """

    def __init__(
        self, reader: SliceReader, slices: Sequence[SliceRef], values: Mapping[str, int], *,
        channels: int = 1, points: Sequence[str] = (), seed: int, batch: int, augmentation: str,
        sentences: str = "",
    ) -> None:  # fmt: skip
        if augmentation not in AUGMENTATIONS:
            raise unknown_name("augmentation of a supervised training", augmentation, AUGMENTATIONS)
        if sentences and augmentation != "none":
            raise UserError(
                f"augmentation {augmentation} would make left and right false in sentences, expected none; "
                "give --option augmentation=none"
            )
        if not slices:
            raise UserError("no labelled training slice, expected at least one; choose another fold")
        self._reader = reader
        self._slices = tuple(slices)
        self._values = dict(values)
        self._channels = channels
        self._points = tuple(points)
        self._seed = seed
        self._batch = batch
        self._augmentation = augmentation
        self._sentences = sentences
        self._order = lru_cache(maxsize=4)(self._draw_order)

    def episode(self, step: int) -> LabelledBatch:
        """Return the batch of a step, on the CPU; its label names the slices, "~" before flipped ones."""
        first = step * self._batch
        refs = [self._at(first + place) for place in range(self._batch)]
        read = self._reader.images if self._channels == 1 else self._reader.channels
        images = read(refs)
        masks = torch.from_numpy(
            np.stack([[self._reader.mask(ref, value) for value in self._values.values()] for ref in refs])
        )
        flips = self._flips(step)
        images = torch.where(flips[:, None, None, None], images.flip(-1), images)
        masks = torch.where(flips[:, None, None, None], masks.flip(-1), masks)
        names = [f"{'~' if flip else ''}{ref.scan}:{ref.z}" for ref, flip in zip(refs, flips, strict=True)]
        label = f"labelled:{','.join(names)}"
        if self._points:
            points = torch.from_numpy(np.stack([self._reader.points(ref, self._points) for ref in refs]))
            mirrored = torch.stack([points[..., 0], images.shape[-1] - 1 - points[..., 1]], dim=-1)
            points = torch.where(flips[:, None, None], mirrored, points)
            return LabelledBatch(images, masks, label, points=points, flipped=flips)
        sentences: tuple[str, ...] = ()
        if self._sentences:
            sentences = self._reader.sentences(refs, self._sentences, tuple(self._values))
        return LabelledBatch(images, masks, label, sentences)

    def _at(self, place: int) -> SliceRef:
        epoch, position = divmod(place, len(self._slices))
        return self._slices[self._order(epoch)[position]]

    def _draw_order(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed_for("labelled-order", self._seed, epoch))
        order: list[int] = torch.randperm(len(self._slices), generator=generator).tolist()
        return order

    def _flips(self, step: int) -> torch.Tensor:
        if self._augmentation == "none":
            return torch.zeros(self._batch, dtype=torch.bool)
        generator = torch.Generator().manual_seed(seed_for("labelled-flip", self._seed, step))
        return torch.rand(self._batch, generator=generator) < 0.5
