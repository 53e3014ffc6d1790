"""RPT's regions: a partition of the support's foreground cells among centres as far apart as possible.

Partitions use integer arithmetic of fixed shape on the mask's device, and the host reads no value.
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

    Attributes:
        cells: (h*w) bool, the cells that belong to a region.
        owners: (h*w) int64, the region of each of these cells; meaningless for the others.
        centres: (K) int64, the cell of each centre, in order of selection.
        count: 0-dim int64, the number of cells that belong to a region.
    """

    cells: Tensor
    owners: Tensor
    centres: Tensor
    count: Tensor


def foreground_cells(mask: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the cells (h*w) bool where a mask (H,W), resized bilinearly to the grid, is above 0."""
    small = F.interpolate(mask.float()[None, None], size=grid, mode="bilinear", align_corners=False)
    return small.flatten() > 0


def with_corner(cells: Tensor, regions: int) -> Tensor:
    """Return the cells; fewer than `regions` get the first `regions` cells of the grid too (rule RPT-3)."""
    corner = torch.arange(len(cells), device=cells.device) < regions
    return cells | (corner & (cells.sum() < regions))


def partition(cells: Tensor, width: int, regions: int, first: Tensor) -> Partition:
    """Partition cells among `regions` centres (rule RPT-4).

    Args:
        cells: (h*w) bool, the candidates.
        width: w, cells in a row of the grid.
        regions: K, the number of centres.
        first: 0-dim int64, the number of the first centre among the candidates, in reading order from 0.

    Returns:
        The partition. The first cell in reading order and the earliest centre win ties. With fewer candidates
        than K, later centres repeat the first candidate and own no cell.
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
        # one number for the largest distance, then the first place: ties do not depend on the device
        keys = torch.where(cells, nearest * len(cells) + (last_place - places), -1)
        centre = keys.argmax().reshape(1)
    return Partition(cells, owners, torch.cat(centres), cells.sum())


def region_means(features: Tensor, regions: Partition) -> Tensor:
    """Return the mean (K,C) of a map (C,h,w) over the cells of each region; 0 for an empty region."""
    numbers = torch.arange(len(regions.centres), device=features.device)
    members = ((regions.owners[None] == numbers[:, None]) & regions.cells[None]).float()
    areas = members.sum(dim=1).clamp(min=1)
    return members @ features.flatten(1).T / areas[:, None]


def repeat_means(means: Tensor, count: Tensor, otherwise: Tensor) -> Tensor:
    """Return region means (K,C) with the first `count` repeated cyclically; `otherwise` (C) if count is 0."""
    numbers = torch.arange(len(means), device=means.device) % count.clamp(min=1)
    return torch.where(count > 0, means.index_select(0, numbers), otherwise)


@functools.lru_cache(maxsize=8)
def fixed_draws(seed: int, cells: int) -> tuple[int, ...]:
    """Return the release's first draw among n candidates for every n in 0 .. cells (0 for n = 0).

    The draw is `numpy.random.RandomState(seed).choice(n)`, from a new stream for every n.
    """
    generator = np.random.RandomState(seed)
    draws = [0]
    for n in range(1, cells + 1):
        generator.seed(seed)
        draws.append(int(generator.choice(n)))
    return tuple(draws)
