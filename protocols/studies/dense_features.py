"""Cells of dense feature maps: their classes by the labels, a seeded draw, and the features of drawn cells.

A cell is one position of an encoder's map. The classes of all cells stay in memory (a byte each). Features
stay in memory for drawn cells only, so memory holds at most one batch of full maps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from episodes.store.slices import SliceReader
from fewshot.base.errors import UserError
from fewshot.base.seeds import seed_for
from fewshot.base.types import SliceRef
from fewshot.encoders.encoder import STRIDE

NO_CLASS = -1
Classes = NDArray[np.int8]
Encode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class DrawnCells:
    """Drawn cells: ascending positions (N,) int64 in the concatenated cells of `refs`; classes (N,) int8."""

    refs: tuple[SliceRef, ...]
    positions: NDArray[np.int64]
    classes: Classes


def grid_of(image_size: int) -> tuple[int, int]:
    """Return rows and columns of the map of a square slice: its side over 8, rounded up."""
    side = -(-image_size // STRIDE)
    return side, side


def cell_classes(labels: NDArray[np.uint8], values: Sequence[int], grid: tuple[int, int]) -> Classes:
    """Return the class of each cell of a slice, (h*w,) int8: index in `values`, background or `NO_CLASS`.

    Labels (H,W) uint8, 0 = no class. A cell has the class that covers more than half of its pixels. A cell
    without labelled pixels is background (`len(values)`). Every other cell is `NO_CLASS`.
    """
    masks = np.stack([*(labels == value for value in values), labels > 0])
    areas = F.adaptive_avg_pool2d(torch.from_numpy(masks).double(), grid).flatten(1).numpy()
    organs, labelled = areas[:-1], areas[-1]
    found = np.full(len(labelled), NO_CLASS, dtype=np.int8)
    found[labelled == 0] = len(values)
    majority = (organs > 0.5).any(axis=0)
    found[majority] = organs.argmax(axis=0)[majority]
    return found


def scan_classes(reader: SliceReader, refs: Sequence[SliceRef], values: Sequence[int]) -> Classes:
    """Return `cell_classes` of every slice: (slices, h*w) int8."""
    grid = grid_of(reader.image_size)
    return np.stack([cell_classes(reader.labels(ref), values, grid) for ref in refs])


def count_hits(classes: Classes, number: int) -> tuple[int, ...]:
    """Return the number of cells of each class 0 .. number-1."""
    return tuple(int(np.count_nonzero(classes == value)) for value in range(number))


def draw_cells(
    refs: tuple[SliceRef, ...], classes: Classes, counts: Sequence[int], *names: str | int
) -> DrawnCells:
    """Return `counts[c]` cells of each class c, drawn without replacement; `classes` (slices, h*w) int8.

    `names` and the class seed the draw. Raises `ValueError` if a class has too few cells.
    """
    flat = classes.reshape(-1)
    some = [
        np.random.Generator(np.random.PCG64(seed_for("probe cells", *names, one))).choice(
            np.flatnonzero(flat == one), count, replace=False
        )
        for one, count in enumerate(counts)
    ]
    positions = np.sort(np.concatenate(some)).astype(np.int64)
    return DrawnCells(refs, positions, flat[positions])


@torch.inference_mode()
def features_at(
    encode: Encode, reader: SliceReader, drawn: DrawnCells, *, batch: int, device: torch.device
) -> Tensor:
    """Return the features of drawn cells, in order: (N,C) float32 of length 1, on the CPU.

    Slices without a drawn cell are not read. A feature of zeros stays zero.

    Args:
        encode: (n,1,H,W) -> (n,C,h,w).
        reader: of the store that holds the slices.
        drawn: the cells.
        batch: slices in one call of `encode`.
        device: where `encode` runs.

    Raises:
        UserError: a feature is not finite.
        ValueError: a map has another size than `grid_of` gives.
    """
    rows, columns = grid_of(reader.image_size)
    of_slice, cell = np.divmod(drawn.positions, rows * columns)
    shown = np.unique(of_slice).tolist()
    found = []
    for start in range(0, len(shown), batch):
        some = shown[start : start + batch]
        maps = encode(reader.images([drawn.refs[number] for number in some]).to(device))
        if tuple(maps.shape[-2:]) != (rows, columns):
            raise ValueError(f"a map of {tuple(maps.shape[-2:])} cells, expected {(rows, columns)}")
        for one, number in zip(maps.flatten(2), some, strict=True):
            chosen = torch.from_numpy(cell[of_slice == number]).to(device)
            found.append(one[:, chosen].T.float().cpu())
    features = torch.cat(found)
    broken = int((~features.isfinite()).sum())
    if broken:
        raise UserError(
            f"{broken} of {features.numel()} values of dense features are not finite; the weights are "
            "broken: lower the pre-training's learning rate or give another file"
        )
    return F.normalize(features, dim=1)
