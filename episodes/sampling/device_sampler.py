"""Episodes drawn on a device that holds a training's slices: pseudo-labels, views and all.

What is drawn is what the sampler draws; the host reads no pixel and waits for nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from episodes.sampling.augment import apply, join_draws
from episodes.sampling.base import EpisodeSource, MappedSampler, episode_of_views
from episodes.sampling.prefetch import prefetch
from fewshot.base.memory import free_memory, to_device
from fewshot.base.types import Episode

LOG = logging.getLogger("fewshot")
TOGETHER = 16  # steps whose views are drawn in one go, so that a step costs few calls of the device
SHARE = 0.5  # of the free memory that slices may take
WORKERS = 4  # threads that build episodes for a GPU where it can't: it asks for more than one thread makes


class ResidentEpisodes:
    """The episodes of a sampler whose `prepare` is None, drawn on `device`, which holds all its slices.

    An episode has the slices, masks and parameters of views that `sampler.episode` gives; the noise of the
    elastic field is the device's own, so that on the CPU the two are equal.
    """

    def __init__(self, sampler: MappedSampler, device: torch.device) -> None:
        if sampler.prepare is not None:
            raise ValueError("a sampler that prepares on the host can't be drawn on a device")
        self._sampler = sampler
        self._device = device
        self._places = {ref: place for place, ref in enumerate(sampler.slices)}
        side = sampler.reader.image_size
        self._images = torch.empty(len(self._places), 1, side, side, device=device)
        self._maps = torch.empty(len(self._places), side, side, dtype=torch.int32, device=device)
        for place, ref in enumerate(sampler.slices):
            self._images[place] = to_device(sampler.reader.images([ref])[0], device)
            shown = torch.from_numpy(sampler.map_of(ref).astype(np.int32))
            self._maps[place] = to_device(shown, device)

    def episodes(self, steps: range) -> Iterator[Episode]:
        """Yield the episodes of the steps, in order, on the device."""
        for start in range(0, len(steps), TOGETHER):
            yield from self._drawn(steps[start : start + TOGETHER])

    def _drawn(self, steps: range) -> list[Episode]:
        picked = [self._sampler.picks(step) for step in steps]
        places = self._there([self._places[ref] for one in picked for ref in one.refs])
        numbers = self._there([number for one in picked for number in one.numbers])
        images = self._images.index_select(0, places)
        masks = self._maps.index_select(0, places) == numbers[:, None, None]
        each, size = len(picked[0].refs), (images.shape[-2], images.shape[-1])
        drawn = [self._sampler.draw_views(each, size, self._device, one.generator) for one in picked]
        views, view_masks = apply(images, masks, join_draws(drawn))
        return [
            episode_of_views(some, some_masks, one.label, None)
            for one, some, some_masks in zip(
                picked, torch.split(views, each), torch.split(view_masks, each), strict=True
            )
        ]

    def _there(self, values: list[int]) -> Tensor:
        return to_device(torch.tensor(values), self._device)


def episodes_of(source: EpisodeSource, device: torch.device) -> Callable[[range], Iterator[Episode]]:
    """Return what yields the episodes of the steps it is given.

    On a GPU that has the memory they are drawn there, unless the learner prepares them on the host or their
    masks are no numbers of a map; else background threads build them ahead.
    """
    if device.type == "cuda" and isinstance(source, MappedSampler) and source.prepare is None:
        wanted, free = _bytes(source), free_memory(device)
        if wanted <= SHARE * free:
            return ResidentEpisodes(source, device).episodes
        LOG.info(
            "episodes are built on the host: %d MB of slices, and %d MB of the GPU's memory are free",
            wanted >> 20, free >> 20,
        )  # fmt: skip
    workers = WORKERS if device.type == "cuda" else 1
    return lambda steps: prefetch(source.episode, steps, 4 * workers, workers)


def _bytes(sampler: MappedSampler) -> int:
    """Return what the slices of a sampler take: images in float32, maps in int32."""
    return len(sampler.slices) * sampler.reader.image_size**2 * 8
