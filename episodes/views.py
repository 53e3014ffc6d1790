"""From chosen slices and masks to an episode: what the samplers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from episodes.augment import Augmentation, augment, preset
from episodes.slices import SliceReader
from fewshot.errors import UserError
from fewshot.types import Episode, SliceRef

Prepare = Callable[[Tensor], dict[str, Tensor]]


class Source(Protocol):
    """A sampler: the episode of a step depends on the step alone."""

    def episode(self, step: int) -> Episode: ...


class ViewSampler:
    """What samplers of random views have in common; `augmentation` is a preset's name or the ranges."""

    def __init__(
        self, reader: SliceReader, seed: int, augmentation: str | Augmentation, batch: int,
        prepare: Prepare | None,
    ) -> None:  # fmt: skip
        self._reader = reader
        self._seed = seed
        self._augmentation = preset(augmentation) if isinstance(augmentation, str) else augmentation
        self._batch = checked_batch(batch)
        self._prepare = prepare

    def _of_slices(
        self, refs: Sequence[SliceRef], masks: Sequence[NDArray[Any]], label: str, generator: torch.Generator
    ) -> Episode:
        """Return the episode of 2B slices and their masks (H,W) bool, all supports before all queries."""
        return episode_of_views(
            self._reader.images(refs), torch.from_numpy(np.stack(masks)), label, self._augmentation,
            generator, self._prepare,
        )  # fmt: skip


def episode_of_views(
    images: Tensor,
    masks: Tensor,
    label: str,
    augmentation: Augmentation,
    generator: torch.Generator,
    prepare: Prepare | None,
) -> Episode:
    """Return B episodes of one support and one query each, every slice seen in a random view of its own.

    images (2B,1,H,W) float32 and masks (2B,H,W) bool, all supports before all queries. `prepare` is the
    learner's; it is given the support masks (1,H,W) of each episode.
    """
    views, view_masks = augment(images, masks, augmentation, generator)
    support_images, query_images = views.unsqueeze(1).chunk(2)
    support_masks, query_masks = view_masks.unsqueeze(1).chunk(2)
    prepared = _prepared(support_masks, prepare)
    return Episode(support_images, support_masks, query_images, query_masks, prepared, label)


def _prepared(support_masks: Tensor, prepare: Prepare | None) -> dict[str, Tensor]:
    if prepare is None:
        return {}
    each = [prepare(masks) for masks in support_masks]
    return {name: torch.stack([prepared[name] for prepared in each]) for name in each[0]}


def below(count: int, generator: torch.Generator) -> int:
    """Draw uniformly from 0 .. count-1."""
    return int(torch.randint(count, (), generator=generator))


def checked_batch(batch: int) -> int:
    """Return the number of episodes a step; `UserError` below 1."""
    if batch < 1:
        raise UserError(f"batch is {batch}, wanted at least 1 episode; set batch=1 or more")
    return batch
