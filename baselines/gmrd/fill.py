"""GMRD's filled maps: every pixel of a side of the mask as it is, all others copied from pixels of that side.

A side is the foreground or the background of one mask, as pixels of a 256 x 256 slice in reading order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Sample = Callable[[int, int], Sequence[int]]

SIDE = 256  # pixels of a slice, each way: the first linear layers run over 256 * 256 pixels


@dataclass(frozen=True)
class Fill:
    """Where each pixel of a filled map comes from, for N sides of P pixels.

    sources (N,P) int64: the pixel that is copied, itself for a pixel of the side; drawn (N,P) bool: whether
    chance chose the source. A side without a pixel has no sources; its map is zero.
    """

    sources: Tensor
    drawn: Tensor


def released_samples(seed: int) -> Sample:
    """Return the release's draws from a new stream, one a call: `random.Random(seed).sample(range(n), k)`."""
    stream = random.Random(seed)
    return lambda count, size: stream.sample(range(count), size)


def random_fill(sides: Tensor) -> Fill:
    """Fill sides (N,P) bool with draws from torch's default generator on the CPU (rule GMRD-4).

    The host reads nothing: a random order of a side's pixels is a sort of random keys.
    """
    keys = torch.rand(sides.shape).to(sides.device)
    return _fill(sides, torch.where(sides, keys, 2.0).argsort(dim=1, stable=True))


def tiled_fill(sides: Tensor) -> Fill:
    """Fill sides (N,P) bool without a draw; what `drawn` marks is a placeholder."""
    return _fill(sides, (~sides).long().argsort(dim=1, stable=True))


def _fill(sides: Tensor, order: Tensor) -> Fill:
    """Fill sides (N,P) from orders (N,P) that list each side's pixels first, in drawn order."""
    inside = sides.sum(dim=1, keepdim=True)
    least_one = inside.clamp(min=1)
    outside = sides.shape[1] - inside
    head = torch.where(outside <= inside, outside, outside % least_one)
    number = (~sides).long().cumsum(dim=1) - 1  # of each other pixel, in reading order
    in_order = (~sides).long().argsort(dim=1, stable=True)
    from_draw = order.gather(1, number.clamp(min=0))
    from_tiles = in_order.gather(1, (number - head).clamp(min=0) % least_one)
    drawn = ~sides & (number < head)
    places = torch.arange(sides.shape[1], device=sides.device).expand_as(sides)
    return Fill(torch.where(sides, places, torch.where(drawn, from_draw, from_tiles)), drawn)


def fill_from_samples(sides: Tensor, sample: Sample) -> Fill:
    """Fill sides (N,P) bool; `sample(n, k)` gives k of the numbers 0 .. n-1 for each side that has a pixel.

    Sides are filled in order. The host reads them.
    """
    orders = []
    for side in sides.cpu():
        pixels = side.nonzero()[:, 0]
        inside, outside = len(pixels), len(side) - len(pixels)
        order = torch.zeros(len(side), dtype=torch.int64)
        if inside:
            head = outside if outside <= inside else outside % inside
            order[:head] = pixels[torch.tensor(sample(inside, head), dtype=torch.int64)]
        orders.append(order)
    return _fill(sides, torch.stack(orders).to(sides.device))
