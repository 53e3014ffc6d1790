"""From chosen slices and masks to an episode: what the samplers share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from episodes.augment import Augmentation, augment
from fewshot.errors import UserError
from fewshot.types import Episode

Prepare = Callable[[Tensor], dict[str, Tensor]]


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
