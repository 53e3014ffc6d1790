"""From chosen slices and masks to an episode: what the samplers share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from episodes.sampling.augment import Augmentation, Draw, apply, draw, preset
from episodes.store.slices import SliceReader
from fewshot.base.errors import UserError
from fewshot.base.types import Episode, SliceRef

Prepare = Callable[[Tensor], dict[str, Tensor]]


class EpisodeSource(Protocol):
    """A sampler: the episode of a step depends on the step alone."""

    def episode(self, step: int) -> Episode: ...


@dataclass(frozen=True)
class Picks:
    """What the B episodes of a step are made of: 2B slices, all supports before all queries.

    `numbers[i]` is what the mask of `refs[i]` shows, as the sampler counts it; `generator` has drawn them
    and goes on to draw the views.
    """

    refs: tuple[SliceRef, ...]
    numbers: tuple[int, ...]
    label: str
    generator: torch.Generator


class ViewSampler(ABC):
    """What samplers of random views have in common; `augmentation` is a preset's name or the ranges."""

    def __init__(
        self, reader: SliceReader, seed: int, augmentation: str | Augmentation, batch: int,
        prepare: Prepare | None,
    ) -> None:  # fmt: skip
        self.reader = reader
        self.augmentation = preset(augmentation) if isinstance(augmentation, str) else augmentation
        self.prepare = prepare
        self._seed = seed
        self._batch = checked_batch(batch)

    @abstractmethod
    def picks(self, step: int) -> Picks:
        """Return what the episodes of a step are made of; no pixel of an image is read."""

    @abstractmethod
    def mask(self, ref: SliceRef, number: int) -> NDArray[np.bool_]:
        """Return the mask (H,W) that `number` stands for on a slice."""

    def draw_views(
        self, count: int, size: tuple[int, int], device: torch.device, generator: torch.Generator
    ) -> Draw:
        """Draw the parameters of a step's views: here of every one of `count`, supports before queries."""
        return draw(self.augmentation, count, size, device, generator)

    def episode(self, step: int) -> Episode:
        """Return the episode of a step, on the CPU: B episodes of one support and one query each.

        `label` says of each what was picked, separated by spaces.
        """
        picks = self.picks(step)
        places = {ref: place for place, ref in enumerate(dict.fromkeys(picks.refs))}
        images = self.reader.images(list(places))[[places[ref] for ref in picks.refs]]
        shown = [self.mask(ref, number) for ref, number in zip(picks.refs, picks.numbers, strict=True)]
        masks = torch.from_numpy(np.stack(shown))
        size = (images.shape[-2], images.shape[-1])
        drawn = self.draw_views(len(images), size, images.device, picks.generator)
        return episode_of_views(*apply(images, masks, drawn), picks.label, self.prepare)


class MappedSampler(ViewSampler):
    """A sampler whose masks are numbers of one map (H,W) a slice, of the slices in `slices`."""

    slices: tuple[SliceRef, ...]

    @abstractmethod
    def map_of(self, ref: SliceRef) -> NDArray[Any]:
        """Return the map of a slice, (H,W) integers, 0 = no number."""

    def mask(self, ref: SliceRef, number: int) -> NDArray[np.bool_]:
        """Return where the slice's map has `number`, (H,W) bool."""
        shown: NDArray[np.bool_] = self.map_of(ref) == number
        return shown


def episode_of_views(views: Tensor, view_masks: Tensor, label: str, prepare: Prepare | None) -> Episode:
    """Return B episodes of one support and one query each from their views.

    views (2B,1,H,W) float32 and view_masks (2B,H,W) bool, all supports before all queries. `prepare` is the
    learner's; it is given the support masks (1,H,W) of each episode.
    """
    support_images, query_images = views.unsqueeze(1).chunk(2)
    support_masks, query_masks = view_masks.unsqueeze(1).chunk(2)
    prepared = _prepared(support_masks, prepare)
    return Episode(support_images, support_masks, query_images, query_masks, prepared, label)


def _prepared(support_masks: Tensor, prepare: Prepare | None) -> dict[str, Tensor]:
    if prepare is None:
        return {}
    each = [prepare(masks) for masks in support_masks]
    return {name: torch.stack([prepared[name] for prepared in each]) for name in each[0]}


def numbers_on(shown: NDArray[Any]) -> NDArray[np.int64]:
    """Return the numbers that occur on a map of integers from 0, ascending, without 0."""
    numbers = np.flatnonzero(np.bincount(shown.ravel()))
    return numbers[numbers > 0]


def randint(count: int, generator: torch.Generator) -> int:
    """Draw uniformly from 0 .. count-1."""
    return int(torch.randint(count, (), generator=generator))


def checked_batch(batch: int) -> int:
    """Return the number of episodes a step; `UserError` below 1."""
    if batch < 1:
        raise UserError(f"batch is {batch}, wanted at least 1 episode; set batch=1 or more")
    return batch
