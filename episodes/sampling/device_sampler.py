"""Training episodes built on the device: it holds all slices and pseudo-labels, and computes masks and views.

The draws are those of the sampler; the host reads no pixel and does not wait for the device.
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
TOGETHER = 16  # steps whose views are computed together, to reduce device calls
SHARE = 0.5  # largest fraction of the free memory for slices
WORKERS = 4  # threads that build episodes on the host for a GPU; one thread is too slow


class ResidentEpisodes:
    """Builds the episodes of a sampler without `prepare` on `device`, which holds all its slices.

    Slices, masks and view parameters are those of `sampler.episode`. Only the elastic noise comes from the
    device's generator, so on the CPU the episodes are equal.
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
            shown = torch.from_numpy(sampler.label_map(ref).astype(np.int32))
            self._maps[place] = to_device(shown, device)

    def episodes(self, steps: range) -> Iterator[Episode]:
        """Yield the episodes of the steps, in order, on the device."""
        for start in range(0, len(steps), TOGETHER):
            yield from self._build(steps[start : start + TOGETHER])

    def _build(self, steps: range) -> list[Episode]:
        all_picks = [self._sampler.picks(step) for step in steps]
        places = self._on_device([self._places[ref] for picks in all_picks for ref in picks.refs])
        numbers = self._on_device([number for picks in all_picks for number in picks.numbers])
        images = self._images.index_select(0, places)
        masks = self._maps.index_select(0, places) == numbers[:, None, None]
        each, size = len(all_picks[0].refs), (images.shape[-2], images.shape[-1])
        drawn = [self._sampler.draw_views(each, size, self._device, picks.generator) for picks in all_picks]
        views, view_masks = apply(images, masks, join_draws(drawn))
        return [
            episode_of_views(step_views, step_masks, picks.label, None)
            for picks, step_views, step_masks in zip(
                all_picks, torch.split(views, each), torch.split(view_masks, each), strict=True
            )
        ]

    def _on_device(self, values: list[int]) -> Tensor:
        return to_device(torch.tensor(values), self._device)


def episodes_of(source: EpisodeSource, device: torch.device) -> Callable[[range], Iterator[Episode]]:
    """Return a function that yields the episodes of a range of steps.

    Episodes are built on a GPU if half of its free memory holds all slices, the learner does not prepare them
    on the host, and the source is a `MappedSampler`. Otherwise background threads build them on the host.
    """
    if device.type == "cuda" and isinstance(source, MappedSampler) and source.prepare is None:
        needed, free = _bytes(source), free_memory(device)
        if needed <= SHARE * free:
            return ResidentEpisodes(source, device).episodes
        LOG.info(
            "episodes are built on the host: %d MB of slices, and %d MB of the GPU's memory are free",
            needed >> 20, free >> 20,
        )  # fmt: skip
    workers = WORKERS if device.type == "cuda" else 1
    return lambda steps: prefetch(source.episode, steps, 4 * workers, workers)


def _bytes(sampler: MappedSampler) -> int:
    """Return the bytes of a sampler's slices: images in float32, maps in int32."""
    return len(sampler.slices) * sampler.reader.image_size**2 * 8
