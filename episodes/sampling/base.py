"""Base classes of the samplers: from chosen slices and masks to an episode with random views."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, Protocol, TypedDict, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from episodes.sampling.augment import Augmentation, Draw, apply, draw, preset
from episodes.store.index import ClassSliceIndex
from episodes.store.slices import SliceReader
from fewshot.base.errors import UserError
from fewshot.base.types import Episode, SliceRef

Prepare = Callable[[Tensor], dict[str, Tensor]]


class EpisodeSource(Protocol):
    """A sampler whose episode depends only on the step."""

    def episode(self, step: int) -> Episode: ...


@dataclass(frozen=True)
class Picks:
    """The slices and masks of the B episodes of a step: 2B entries, all supports before all queries.

    `refs`: slices; `numbers[i]`: the sampler's number of the mask on `refs[i]`; `label`: text for the episode
    log; `generator`: the generator of these draws, which then draws the views.
    """

    refs: tuple[SliceRef, ...]
    numbers: tuple[int, ...]
    label: str
    generator: torch.Generator


class ViewOptions(TypedDict):
    """Keyword arguments of every sampler of random views.

    `seed`: of all draws; `augmentation`: name of a preset, or the ranges (default: "published"); `batch`:
    episodes per step (default: 1); `prepare`: the learner's, or None (default).
    """

    seed: int
    augmentation: NotRequired[str | Augmentation]
    batch: NotRequired[int]
    prepare: NotRequired[Prepare | None]


class ViewSampler(ABC):
    """Base class of samplers that draw random views; `ViewOptions` explains the arguments.

    Raises:
        UserError: the augmentation is unknown, or `batch` is below 1.
    """

    def __init__(
        self, reader: SliceReader, *, seed: int, augmentation: str | Augmentation = "published",
        batch: int = 1, prepare: Prepare | None = None,
    ) -> None:  # fmt: skip
        self.reader = reader
        self.augmentation = preset(augmentation) if isinstance(augmentation, str) else augmentation
        self.prepare = prepare
        self._seed = seed
        self._batch = check_batch(batch)

    @abstractmethod
    def picks(self, step: int) -> Picks:
        """Draw the slices and masks of a step, without reading image pixels."""

    @abstractmethod
    def mask(self, ref: SliceRef, number: int) -> NDArray[np.bool_]:
        """Return the mask (H,W) of `number` on a slice."""

    def draw_views(
        self, count: int, size: tuple[int, int], device: torch.device, generator: torch.Generator
    ) -> Draw:
        """Draw the parameters of the `count` views of a step, supports before queries."""
        return draw(self.augmentation, count, size, device, generator)

    def episode(self, step: int) -> Episode:
        """Return the episode of a step, on the CPU: B episodes of one support and one query each.

        `label` names the picks of each episode, separated by spaces.
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
    """A sampler with an integer map (H,W) for each slice in `slices`; a number of the map is a mask.

    Args:
        reader: reads images, and superpixels if they are the maps.
        index: class-slice index of the dataset.
        training_scans: scans to draw from.
        allowed: admissible slices; None: all.
        views: seed, augmentation, batch, `prepare`.

    Raises:
        UserError: a name is unknown, or no slice is left.
    """

    slices: tuple[SliceRef, ...]

    def __init__(
        self,
        reader: SliceReader,
        index: ClassSliceIndex,
        training_scans: Sequence[str],
        allowed: frozenset[SliceRef] | None,
        **views: Unpack[ViewOptions],
    ) -> None:
        super().__init__(reader, **views)
        self._scans = tuple(training_scans)
        self._every = index.all_slices(self._scans)
        self._allowed = allowed

    @abstractmethod
    def label_map(self, ref: SliceRef) -> NDArray[Any]:
        """Return the map of a slice, (H,W) integers; 0 is background."""

    def mask(self, ref: SliceRef, number: int) -> NDArray[np.bool_]:
        """Return the mask (H,W), bool, of the pixels with `number` in the slice's map."""
        shown: NDArray[np.bool_] = self.label_map(ref) == number
        return shown


def episode_of_views(views: Tensor, view_masks: Tensor, label: str, prepare: Prepare | None) -> Episode:
    """Return B episodes of one support and one query each from their views.

    views (2B,1,H,W) float32 and view_masks (2B,H,W) bool, all supports before all queries. `prepare` is the
    learner's and receives the support masks (1,H,W) of each episode.
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
    """Return the positive numbers in a map of non-negative integers, ascending."""
    numbers = np.flatnonzero(np.bincount(shown.ravel()))
    return numbers[numbers > 0]


def randint(count: int, generator: torch.Generator) -> int:
    """Draw uniformly from 0 .. count-1."""
    return int(torch.randint(count, (), generator=generator))


def check_batch(batch: int) -> int:
    """Return `batch`, the number of episodes per step; `UserError` if it is below 1."""
    if batch < 1:
        raise UserError(f"batch is {batch}, expected at least 1 episode; set batch=1 or more")
    return batch
