"""Affine maps of random views: composed as in the released programs, or about the slice's centre.

Maps are forward, float64, in centred (x, y): pixels from the image's centre, x to the right, y down. Rules
AUGMENT-1 and AUGMENT-2 of docs/methods.md.
"""

from __future__ import annotations

import torch
from torch import Tensor


def corner_map(angle: Tensor, shift: Tensor, shear: Tensor, zoom: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the released forward maps (N,2,3) of slices of `size` (H, W), in centred pixels (AUGMENT-1).

    The arguments are those of `centred_map`, but a positive angle turns counter-clockwise. In pixel
    coordinates from the array's first pixel: rotation about (H/2, W // 2), shift, shear (x - sin(a) y, cos(a)
    y) about the first pixel, zoom about the centre of rotation.
    """
    x, y = torch.full_like(angle, size[0] / 2), torch.full_like(angle, size[1] // 2)
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)
    cos, sin = angle.cos(), angle.sin()
    rotated = _matrices([cos, sin, (1 - cos) * x - sin * y], [-sin, cos, sin * x + (1 - cos) * y])
    shifted = _matrices([one, zero, shift[:, 0]], [zero, one, shift[:, 1]])
    sheared = _matrices([one, -shear.sin(), zero], [zero, shear.cos(), zero])
    zoomed = _matrices([zoom, zero, (1 - zoom) * x], [zero, zoom, (1 - zoom) * y])
    middle = torch.tensor([(size[1] - 1) / 2, (size[0] - 1) / 2], dtype=angle.dtype)[:, None]
    linear, moved = torch.split((zoomed @ sheared @ shifted @ rotated)[:, :2], [2, 1], dim=2)
    return torch.cat([linear, moved + linear @ middle - middle], dim=2)


def centred_map(angle: Tensor, shift: Tensor, shear: Tensor, zoom: Tensor) -> Tensor:
    """Return forward maps (N,2,3): rotate, shift, shear, zoom, in this order, about the image's centre.

    `angle` and `shear` (N) in radians, `shift` (N,2) as (x, y) in pixels, `zoom` (N), > 1 enlarges.
    Coordinates are centred (x to the right, y down), so a positive angle turns clockwise on the screen;
    shear moves x by tan(shear) * y.
    """
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)
    rotated = _matrices([angle.cos(), -angle.sin(), zero], [angle.sin(), angle.cos(), zero])
    shifted = _matrices([one, zero, shift[:, 0]], [zero, one, shift[:, 1]])
    sheared = _matrices([one, shear.tan(), zero], [zero, one, zero])
    zoomed = _matrices([zoom, zero, zero], [zero, zoom, zero])
    return (zoomed @ sheared @ shifted @ rotated)[:, :2]


def _matrices(*rows: list[Tensor]) -> Tensor:
    """Return affine matrices (N,3,3) from their first two rows."""
    zero = torch.zeros_like(rows[0][0])
    every = [*rows, [zero, zero, zero + 1]]
    return torch.stack([torch.stack(row, dim=-1) for row in every], dim=-2)
