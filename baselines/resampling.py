"""Bilinear resizing and its transpose for the ADNet family: (h,w) cells of a grid, (H,W) pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

AREA_FLOOR = 1e-5  # added to an area before a division, as in the released programs


def interpolation_weights(cells: int, pixels: int, align_corners: bool, like: Tensor) -> Tensor:
    """Return the weight (cells,pixels) of each cell in each pixel of a linearly resized row."""
    identity = torch.eye(cells, dtype=torch.float32, device=like.device)[None]
    return F.interpolate(identity, size=pixels, mode="linear", align_corners=align_corners)[0]


def spread(pixels: Tensor, grid: tuple[int, int], align_corners: bool) -> Tensor:
    """Spread every pixel over the cells that it is interpolated from (the transpose of resizing).

    sum(resize(features) * pixels) over pixels equals sum(features * spread(pixels)) over cells.

    Args:
        pixels: (...,H,W) float32.
        grid: (h,w), the size of the grid.
        align_corners: True if corner cells lie on corner pixels.

    Returns:
        (...,h,w) float32 with the same sum as `pixels`.
    """
    rows = interpolation_weights(grid[0], pixels.shape[-2], align_corners, pixels)
    columns = interpolation_weights(grid[1], pixels.shape[-1], align_corners, pixels)
    return rows @ pixels @ columns.T


def average_under(features: Tensor, weights: Tensor, align_corners: bool) -> Tensor:
    """Average features resized to the pixels under weights at the pixels.

    Args:
        features: (N,C,h,w) float32.
        weights: (N,H,W) bool or float32, a mask or signed weights.
        align_corners: True if corner cells lie on corner pixels.

    Returns:
        (N,C) float32: sum(feature * weight) / (sum(weight) + 1e-5); zero where every weight is zero.
    """
    pixels = weights.float()
    cells = spread(pixels, (features.shape[-2], features.shape[-1]), align_corners)
    areas = pixels.sum(dim=(1, 2)) + AREA_FLOOR
    return torch.einsum("nchw,nhw->nc", features, cells) / areas[:, None]


def to_pixels(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps (N,h,w) bilinearly to (N,H,W); corner cells lie on corner pixels."""
    return F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=True)[:, 0]
