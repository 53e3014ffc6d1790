"""Pictures and masks in PNG, JPEG, TIFF and BMP files, read strictly: each fault is one line."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewshot.base.errors import UserError, listed

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
# exceptions of Pillow for bytes that are no complete picture, or a picture of implausible size
NO_PICTURE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
KINDS = {
    "P": "palette colours", "I;16": "16-bit values", "I;16B": "16-bit values", "I;16L": "16-bit values",
    "I": "32-bit values", "F": "floating-point values", "RGBA": "transparency", "LA": "transparency",
    "CMYK": "CMYK colours", "RGB": "three channels", "1": "one bit", "L": "one grey channel",
}  # fmt: skip


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Return the channels (C,H,W) of a picture file, uint8; C is 3 for colours and 1 for grey.

    Raises `UserError` for a file that is no picture, and for other kinds of values.
    """
    mode, values = _read(path)
    if mode not in ("RGB", "L", "1"):
        raise UserError(
            f"{path} has {KINDS.get(mode, mode)}, expected a picture of 8 bits, RGB or grey; save it as one"
        )
    array = values.astype(np.uint8) * 255 if mode == "1" else values.astype(np.uint8)
    return array.transpose(2, 0, 1) if mode == "RGB" else array[None]


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Return a mask file (H,W) as bool; its two values are 0 and 255, or 0 and 1.

    Raises `UserError` for a file that is no picture, for palettes, 16 bits and colours, and for other values.
    """
    mode, values = _read(path)
    if mode not in ("L", "1"):
        raise UserError(
            f"mask {path} has {KINDS.get(mode, mode)}, expected one grey channel of 8 bits with 0 and 255; "
            "save it as one"
        )
    found = np.unique(values.astype(np.uint8))
    if not (set(found.tolist()) <= {0, 255} or set(found.tolist()) <= {0, 1}):
        raise UserError(
            f"mask {path} holds the values {listed(found.tolist(), most=4)}, expected 0 and 255, or 0 and 1; "
            "save it without grey edges, and not as JPEG"
        )
    mask: NDArray[np.bool_] = values.astype(np.uint8) > 0
    return mask


def fit_picture(channels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return channels (C,H,W) at side x side pixels, bilinear with smoothing when they shrink."""
    return np.stack([_resized(channel, side) for channel in channels])


def fit_mask(mask: NDArray[np.bool_], side: int) -> NDArray[np.uint8]:
    """Return a mask (H,W) at side x side pixels, uint8: 1 where half of a pixel or more is covered."""
    share = _resized(mask.astype(np.uint8) * 255, side)
    return (share >= 128).astype(np.uint8)


def _resized(channel: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    if channel.shape == (side, side):
        return channel
    image = Image.fromarray(channel).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8)


def _read(path: Path) -> tuple[str, NDArray[np.generic]]:
    """Return Pillow's mode of a file and its values; `UserError` for a file that is no picture."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            image.load()
            return image.mode, np.asarray(image)
    except NO_PICTURE as error:
        raise UserError(
            f"{path} cannot be read as a picture ({error}); expected {', '.join(FORMATS)}: fetch or save it "
            "again"
        ) from None
