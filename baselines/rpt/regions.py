"""RPT's regions: the support's foreground cells, parted among centres that lie as far apart as possible.

Everything is integer arithmetic on the device of the mask, of fixed shape, and the host reads nothing.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

FewCells = Literal["corner", "repeat"]


@dataclass(frozen=True)
class Partition:
    """A partition of the cells of one grid (h,w), cells in reading order.

    cells (h*w) bool: the cells that belong to a region; owners (h*w) int64: the region of each cell, only
    meaningful inside; centres (K) int64: the cell of each centre, in the order found; count: 0-dim int64.
    """

    cells: Tensor
    owners: Tensor
    centres: Tensor
    count: Tensor


def foreground_cells(mask: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the cells (h*w) bool at which a mask (H,W), resized bilinearly to the grid, is not zero."""
    small = F.interpolate(mask.float()[None, None], size=grid, mode="bilinear", align_corners=False)
    return small.flatten() > 0


def with_corner(cells: Tensor, regions: int) -> Tensor:
    """Add the first `regions` cells in reading order if there are fewer cells than that (rule RPT-3)."""
    corner = torch.arange(len(cells), device=cells.device) < regions
    return cells | (corner & (cells.sum() < regions))


def partition(cells: Tensor, width: int, regions: int, first: Tensor) -> Partition:
    """Part cells among `regions` centres (rule RPT-4).

    Args:
        cells: (h*w) bool, the candidates.
        width: w, cells in a row of the grid.
        regions: K, the number of centres.
        first: 0-dim int64, which candidate (in reading order, from 0) is the first centre.

    Returns:
        The partition. Ties go to the first cell in reading order and to the earliest centre. With fewer
        candidates than K, later centres repeat the first candidate and own nothing.
    """
    places = torch.arange(len(cells), device=cells.device)
    rows, columns = places // width, places % width
    numbers = cells.long().cumsum(dim=0) - 1
    centre = ((numbers == first) & cells).long().argmax().reshape(1)
    nearest = torch.full_like(places, 2 * len(cells) ** 2)
    owners = torch.zeros_like(places)
    last_place = len(cells) - 1
    centres = []
    for region in range(regions):
        centres.append(centre)
        distances = (rows - rows.index_select(0, centre)) ** 2
        distances = distances + (columns - columns.index_select(0, centre)) ** 2
        closer = distances < nearest
        owners = torch.where(closer, region, owners)
        nearest = torch.where(closer, distances, nearest)
        # the largest distance, then the first place: one number, so that no device's tie rule matters
        keys = torch.where(cells, nearest * len(cells) + (last_place - places), -1)
        centre = keys.argmax().reshape(1)
    return Partition(cells, owners, torch.cat(centres), cells.sum())


def region_means(features: Tensor, parted: Partition) -> Tensor:
    """Return the mean (K,C) of a map (C,h,w) over the cells of each region; 0 for an empty region."""
    numbers = torch.arange(len(parted.centres), device=features.device)
    members = ((parted.owners[None] == numbers[:, None]) & parted.cells[None]).float()
    areas = members.sum(dim=1).clamp(min=1)
    return members @ features.flatten(1).T / areas[:, None]


def repeated(means: Tensor, count: Tensor, otherwise: Tensor) -> Tensor:
    """Repeat the first `count` of region means (K,C) cyclically; `otherwise` (C) if there are none."""
    numbers = torch.arange(len(means), device=means.device) % count.clamp(min=1)
    return torch.where(count > 0, means.index_select(0, numbers), otherwise)


@functools.lru_cache(maxsize=8)
def fixed_draws(seed: int, cells: int) -> tuple[int, ...]:
    """Return the release's first draw among n candidates for every n in 0 .. cells (0 for n = 0).

    The draw is `numpy.random.RandomState(seed).choice(n)`, fresh for every question.
    """
    generator = np.random.RandomState(seed)
    draws = [0]
    for n in range(1, cells + 1):
        generator.seed(seed)
        draws.append(int(generator.choice(n)))
    return tuple(draws)
