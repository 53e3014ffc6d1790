"""Pairs of views of pictures, and the true matches between the positions of the two views."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fewshot.base.memory import to_device


@dataclass(frozen=True)
class ViewPair:
    """Two views of B pictures.

    Attributes:
        views: (B,2,3,size,size) float32, normalised by ImageNet's mean and standard deviation.
        boxes: (B,2,5) int64: top, left, height and width of the crop in pixels of the picture, and 1 if it is
            flipped left to right, else 0.
        label: one line for the log.
        pictures: number of each picture in its source.
    """

    views: Tensor
    boxes: Tensor
    label: str = ""
    pictures: tuple[int, ...] = ()

    def to(self, device: torch.device) -> ViewPair:
        """Return the same pair on `device`; the host does not wait for copies to a GPU."""
        views, boxes = to_device(self.views, device), to_device(self.boxes, device)
        return ViewPair(views, boxes, self.label, self.pictures)


def true_matches(boxes: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Match each cell of view 0 to the cell of view 1 that shows the picture's point at its centre.

    If the point lies outside view 1, the match is the nearest cell. The arithmetic is in integers, so every
    device gives the same matches.

    Args:
        boxes: (B,2,5) int64, as in `ViewPair`.
        grid: (h, w), cells of a view, numbered row by row.

    Returns:
        The matched cells (B,h*w) int64, and whether the point lies inside view 1 (B,h*w) bool.
    """
    height, width = grid
    (top0, left0, tall0, wide0, flip0), (top1, left1, tall1, wide1, flip1) = (
        boxes[:, view].unsqueeze(-1).unbind(1) for view in (0, 1)
    )
    rows = _same_point(top0, tall0, top1, tall1, height)
    across = _same_point(left0, wide0, left1, wide1, width)
    mirrored = across.flip(-1)  # cell c of a flipped view is cell w - 1 - c of the crop
    columns = torch.where(flip0.bool(), mirrored, across)
    columns = torch.where(flip1.bool(), width - 1 - columns, columns)
    inside_rows = (rows >= 0) & (rows < height)
    inside_columns = (columns >= 0) & (columns < width)
    cells = rows.clamp(0, height - 1).unsqueeze(2) * width + columns.clamp(0, width - 1).unsqueeze(1)
    return cells.flatten(1), (inside_rows.unsqueeze(2) & inside_columns.unsqueeze(1)).flatten(1)


def _same_point(start0: Tensor, length0: Tensor, start1: Tensor, length1: Tensor, cells: int) -> Tensor:
    """Return the cell along view 1 of each cell centre along view 0, (B,cells) int64; it may lie outside.

    The function solves start0 + (c + 1/2) length0 / cells = start1 + x length1 / cells for the floor of x.
    """
    doubled = 2 * torch.arange(cells, device=start0.device) + 1
    offset = 2 * cells * (start0 - start1) + doubled * length0
    return torch.div(offset, 2 * length1, rounding_mode="floor")
