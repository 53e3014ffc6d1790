"""Slices as the pictures that colour networks take: three channels of one size, scaled by their extremes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.base.errors import UserError


def scaled_pictures(images: Tensor, side: int, method: str, top: float = 1.0) -> Tensor:
    """Return images (N,C,H,W) as pictures (N,3,side,side), each scaled to [0,top] by its own extremes.

    One channel is repeated three times; a constant image becomes 0.

    Args:
        images: float, of 1 or 3 channels.
        side: pixels.
        method: name, for the message.
        top: value of the largest pixel.

    Raises:
        UserError: two channels or more than three.
    """
    if images.shape[1] not in (1, 3):
        raise UserError(
            f"{method} takes pictures of 1 or 3 channels, found {images.shape[1]}; choose another dataset"
        )
    if images.shape[-2:] != (side, side):
        images = F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)
    least, most = images.amin(dim=(1, 2, 3), keepdim=True), images.amax(dim=(1, 2, 3), keepdim=True)
    scaled = top * (images - least) / torch.where(most > least, most - least, 1.0)
    return scaled.expand(-1, 3, -1, -1)
