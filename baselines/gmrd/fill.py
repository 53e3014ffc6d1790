"""GMRD's filled maps: a side of the mask keeps its pixels, and all other pixels are copies of them.

A side is the foreground or the background of one mask: pixels of a 256 x 256 slice in reading order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Sample = Callable[[int, int], Sequence[int]]

SIDE = 256  # side of a slice in pixels: the first linear layers span 256 * 256 pixels


@dataclass(frozen=True)
class Fill:
    """The sources of the pixels of filled maps, for N sides of P pixels.

    Attributes:
        sources: (N,P) int64, the pixel to copy; a pixel of the side copies itself. Meaningless for an empty
            side, whose map is zero.
        drawn: (N,P) bool, whether the source is a random draw.
    """

    sources: Tensor
    drawn: Tensor


def released_samples(seed: int) -> Sample:
    """Return a function that draws from one new stream as the release does.

    The stream is `random.Random(seed)`, and each call returns its next `sample(range(n), k)`.
    """
    stream = random.Random(seed)
    return lambda count, size: stream.sample(range(count), size)


def random_fill(sides: Tensor) -> Fill:
    """Fill sides (N,P) bool with draws from torch's default generator on the CPU (rule GMRD-4).

    A sort of random keys gives the random order of a side's pixels, so the host reads no value.
    """
    keys = torch.rand(sides.shape).to(sides.device)
    return _fill(sides, torch.where(sides, keys, 2.0).argsort(dim=1, stable=True))


def tiled_fill(sides: Tensor) -> Fill:
    """Fill sides (N,P) bool without a draw; sources marked `drawn` are placeholders."""
    return _fill(sides, (~sides).long().argsort(dim=1, stable=True))


def _fill(sides: Tensor, order: Tensor) -> Fill:
    """Fill sides (N,P) from orders (N,P), which list each side's pixels first, in drawn order."""
    inside = sides.sum(dim=1, keepdim=True)
    least_one = inside.clamp(min=1)
    outside = sides.shape[1] - inside
    head = torch.where(outside <= inside, outside, outside % least_one)
    number = (~sides).long().cumsum(dim=1) - 1  # numbers the other pixels in reading order
    in_order = (~sides).long().argsort(dim=1, stable=True)
    from_draw = order.gather(1, number.clamp(min=0))
    from_tiles = in_order.gather(1, (number - head).clamp(min=0) % least_one)
    drawn = ~sides & (number < head)
    places = torch.arange(sides.shape[1], device=sides.device).expand_as(sides)
    return Fill(torch.where(sides, places, torch.where(drawn, from_draw, from_tiles)), drawn)


def fill_from_samples(sides: Tensor, sample: Sample) -> Fill:
    """Fill sides (N,P) bool, in order; the host reads them.

    `sample(n, k)` returns k of the numbers 0 .. n-1; each side with a pixel calls it once.
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
