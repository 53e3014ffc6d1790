"""Synthetic inputs for the contract's checks: bright discs on noise, drawn from named seeds."""

from __future__ import annotations

import torch
from torch import Tensor

from fewshot.base.seeds import seed_for
from fewshot.base.types import Episode, Support

Size = tuple[int, int]
SQUARE: Size = (64, 64)
WIDE: Size = (64, 96)
Inputs = tuple[Support, Tensor]


def segment_inputs(name: str, *, shots: int = 1, queries: int = 3, size: Size = SQUARE) -> Inputs:
    """Return a support of `shots` discs (S,1,H,W) and query slices (Q,1,H,W); new tensors at each call."""
    images, masks = _discs(name, shots + queries, size)
    return Support(images[:shots].clone(), masks[:shots].clone()), images[shots:].clone()


def with_mask(inputs: Inputs, mask: Tensor) -> Inputs:
    """Return the inputs with `mask` (H,W) for every shot."""
    support, query = inputs
    return Support(support.images, mask.expand(support.masks.shape).clone()), query


def with_unlike_queries(inputs: Inputs) -> Inputs:
    """Return the inputs with query slices of unlike brightness and contrast.

    The statistics of the query batch then differ from those of each slice.
    """
    support, query = inputs
    numbers = torch.arange(len(query)).reshape(-1, 1, 1, 1)
    return support, query * 2.0 ** (1 - numbers) + 0.5 * numbers


def odd_masks() -> dict[str, Tensor]:
    """Return name of the check -> mask (H,W) bool that breaks careless methods."""
    size = SQUARE
    pixel, holes = torch.zeros(size, dtype=torch.bool), torch.ones(size, dtype=torch.bool)
    pixel[size[0] // 2, size[1] // 2] = True
    holes[4::16, 4::16] = False  # background, but far too little to fill any cell of a feature map
    return {"one-pixel mask": pixel, "full mask": torch.ones(size, dtype=torch.bool), "no background": holes}


def episode(name: str, mask: Tensor | None = None) -> Episode:
    """Return an episode of one shot and one query slice (B = 1); `mask` (H,W) replaces both masks."""
    images, masks = _discs(name, 2, SQUARE)
    if mask is not None:
        masks = mask.expand(masks.shape).clone()
    return Episode(images[None, :1], masks[None, :1], images[None, 1:], masks[None, 1:], {}, name)


def _discs(name: str, count: int, size: Size) -> tuple[Tensor, Tensor]:
    """Return slices (N,1,H,W) float32 of mean about 0 and the discs in them (N,H,W) bool."""
    generator = torch.Generator().manual_seed(seed_for("contract", name))
    places = torch.rand(count, 3, generator=generator)
    rows, columns = torch.arange(size[0])[:, None], torch.arange(size[1])[None]
    masks = torch.stack(
        [
            (rows - size[0] * (0.4 + 0.2 * y)) ** 2 + (columns - size[1] * (0.4 + 0.2 * x)) ** 2
            < (size[0] * (0.2 + 0.1 * radius)) ** 2
            for y, x, radius in places.tolist()
        ]
    )
    noise = torch.randn(count, 1, *size, generator=generator)
    return 0.3 * noise + 2.0 * masks[:, None] - 0.5, masks
