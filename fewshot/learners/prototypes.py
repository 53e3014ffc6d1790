"""Prototypes of fixed shape: masked averages, pooled grids with a validity mask, similarity scores.

No function uses boolean indexing or reads a number of the device, so shapes never depend on the data. A set
of prototypes is all P candidates and a row of P weights, 1 for a member and 0 for the others.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NORM_FLOOR = 1e-4  # norms are clamped here before dividing, as in the released programs
AREA_FLOOR = 1e-5  # added to a mask's area before dividing


def resize_maps(maps: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """Return maps (N,h,w) resized bilinearly to `size`, (N,H,W). Maps of that size keep their values.

    Args:
        maps: (N,h,w) float.
        size: (H,W).
        align_corners: True if corner cells lie on corner pixels.
    """
    if maps.shape[-2:] == torch.Size(size):
        return maps
    return F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=align_corners)[:, 0]


def resize_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Return masks (S,H,W) bool or float resized bilinearly to `size`, float32 (S,h,w) in [0, 1].

    Masks of that size keep their values.
    """
    return resize_maps(masks.float(), size, align_corners=False)


def spread_masks(masks: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Spread every pixel of masks over the cells that it is interpolated from; each mask keeps its sum.

    This is the transpose of bilinear upsampling: a pixel goes to at most four cells, with the same weights. A
    masked average of features (S,C,h,w) with these masks equals that of the features upsampled to H x W with
    the original masks. No mask becomes empty.

    Args:
        masks: (...,H,W) bool or float, masks or signed weights.
        size: (h,w) of the grid.
        align_corners: True if corner cells lie on corner pixels.

    Returns:
        (...,h,w) float32.
    """
    values = masks.float()
    if values.shape[-2:] == torch.Size(size):
        return values
    rows, columns = (
        _shares(cells, pixels, align_corners, values.device)
        for cells, pixels in zip(size, values.shape[-2:], strict=True)
    )
    return rows @ values @ columns.mT


def _shares(cells: int, pixels: int, align_corners: bool, device: torch.device) -> Tensor:
    """Return the weights (cells, pixels) of each cell in each pixel of a linear upsampling."""
    each = torch.eye(cells, dtype=torch.float32, device=device)[None]
    return F.interpolate(each, size=pixels, mode="linear", align_corners=align_corners)[0]


def masked_average(features: Tensor, masks: Tensor, areas: Tensor | None = None) -> Tensor:
    """Return one vector per shot, sum(feature * mask) / (area + 1e-5).

    Args:
        features: (S,C,h,w).
        masks: (S,h,w) float.
        areas: (S,), the sum of each mask by default.

    Returns:
        (S,C); an empty mask gives the zero vector.
    """
    sums = torch.einsum("schw,shw->sc", features, masks)
    areas = masks.sum(dim=(1, 2)) if areas is None else areas
    return sums / (areas + AREA_FLOOR)[:, None]


def average_under(features: Tensor, masks: Tensor, align_corners: bool) -> Tensor:
    """Average features under masks as if the features were upsampled to the masks' pixels.

    Args:
        features: (N,C,h,w) float32.
        masks: (N,H,W) bool or float32, masks or signed weights.
        align_corners: True if corner cells lie on corner pixels.

    Returns:
        (N,C) float32: sum(feature * weight) / (sum(weight) + 1e-5); zero where every weight is zero.
    """
    cells = spread_masks(masks, (features.shape[-2], features.shape[-1]), align_corners)
    return masked_average(features, cells, masks.float().sum(dim=(1, 2)))


def pooled_cells(maps: Tensor, window: tuple[int, int]) -> Tensor:
    """Average (S,C,h,w) over windows of (rows, columns) without overlap; return all S*n cells (S*n,C)."""
    return F.avg_pool2d(maps, window).permute(0, 2, 3, 1).flatten(0, 2)


def similarities(prototypes: Tensor, query: Tensor, scale: float) -> Tensor:
    """Return scale * cosine (Q,P,h,w) of prototypes (P,C) and every position of queries (Q,C,h,w)."""
    directions = F.normalize(prototypes, dim=1, eps=NORM_FLOOR)
    positions = F.normalize(query, dim=1, eps=NORM_FLOOR)
    return scale * torch.einsum("pc,qchw->qphw", directions, positions)


def own_similarities(prototypes: Tensor, query: Tensor, scale: float) -> Tensor:
    """Return scale * cosine (Q,P,h,w) of each query's own prototypes (Q,P,C) and its positions (Q,C,h,w)."""
    directions = F.normalize(prototypes, dim=2, eps=NORM_FLOOR)
    positions = F.normalize(query, dim=1, eps=NORM_FLOOR)
    return scale * torch.einsum("qpc,qchw->qphw", directions, positions)


def set_scores(distances: Tensor, members: Tensor, scale: float) -> Tensor:
    """Return sum_k softmax(d)_k d_k over the members of each of K sets (Q,K,h,w).

    Since d <= scale, exp(d - scale) can't overflow, and at scale 20 its smallest value, 4e-18, is far from
    underflow. The softmax so needs neither a maximum nor -inf, and all sets share one matrix product.

    Args:
        distances: (Q,P,h,w) in [-scale, scale].
        members: (K,P), 1 for a member and 0 for the others; no row may be all 0.
        scale: the largest absolute distance.
    """
    weights = torch.exp(distances - scale)
    above = torch.einsum("kp,qphw->qkhw", members, weights * distances)
    below = torch.einsum("kp,qphw->qkhw", members, weights)
    return above / below
