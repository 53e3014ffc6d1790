"""Pictures for networks of a fixed side: three channels scaled by their extremes, and checks of the size."""

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


def check_network_size(side: int, multiple: int, width: float) -> None:
    """Check the options `side` (pixels) and `width` (factor of all channels) of a network.

    Raises:
        UserError: the side is no positive multiple of `multiple`, or the width is not in (0,4].
    """
    if side < multiple or side % multiple:
        raise UserError(f"option side is {side}, expected a multiple of {multiple}")
    if not 0 < width <= 4:
        raise UserError(f"option width is {width}, expected above 0 and at most 4")
