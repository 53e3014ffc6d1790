"""Phantom pictures of skin: one lesion with a soft, uneven border, under hair-like lines and uneven light."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from episodes.phantoms.shapes import Field, generator_for, smooth_noise

Axes = NDArray[np.float64]
SKIN = "phantom-skin"
CHANNELS = 3
HAIRS = 14  # most hairs on a picture
GREY = (0.299, 0.587, 0.114)  # share of red, green and blue in the grey picture (ITU-R BT.601)


def skin_picture(size: int, version: int, scan: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the channels (3,1,size,size) and the mask (1,size,size) of one picture, both uint8.

    The mask is where the lesion covers more than half of the soft border's depth. Both depend only on the
    arguments.
    """
    draw = generator_for(SKIN, version, scan)
    y, x = (np.mgrid[:size, :size] + 0.5) / size * 2 - 1
    cover = _lesion(x, y, draw)
    skin = np.array([206, 160, 134]) * math.exp(0.12 * _unit(draw)) + draw.uniform(-12, 12, 3)
    dark = draw.uniform(0.42, 0.78)  # grey of the lesion over that of the skin
    brown = skin * dark * np.array([1.0, 0.88, 0.84])
    mottle = _noise(draw, size, (3, 3)) * 0.10 + _noise(draw, size, (9, 9)) * 0.05
    share = cover * (1 + 1.6 * mottle)
    picture = skin[:, None, None] * (1 - share) + brown[:, None, None] * share
    picture *= 1 + 0.05 * _noise(draw, size, (10, 10)) + 0.10 * _noise(draw, size, (2, 2))
    light = 1 - draw.uniform(0.05, 0.4) * ((x - 0.4 * _unit(draw)) ** 2 + (y - 0.4 * _unit(draw)) ** 2) / 2
    picture = picture * light
    for _ in range(int(draw.integers(0, HAIRS))):
        hair = _hair(x, y, draw, size)
        picture = picture * (1 - hair) + draw.uniform(20, 60) * hair
    picture += 5 * draw.standard_normal(picture.shape)
    channels = np.clip(np.rint(picture), 0, 255).astype(np.uint8)[:, None]
    return channels, (cover > 0.5).astype(np.uint8)[None]


def grey_of(channels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the grey picture (Z,H,W) of red, green and blue channels (3,Z,H,W)."""
    grey = sum(share * channel.astype(np.float64) for share, channel in zip(GREY, channels, strict=True))
    rounded: NDArray[np.uint8] = np.rint(grey).astype(np.uint8)
    return rounded


def _lesion(x: Axes, y: Axes, draw: np.random.Generator) -> Field:
    """Return how much of each pixel's depth the lesion covers, in [0,1]."""
    across, up = draw.uniform(-0.35, 0.35, 2)
    angle = np.arctan2(y - up, x - across)
    stretch, turn = draw.uniform(0.75, 1.3), draw.uniform(0, math.pi)
    u = (x - across) * math.cos(turn) + (y - up) * math.sin(turn)
    v = (y - up) * math.cos(turn) - (x - across) * math.sin(turn)
    distance = np.hypot(u * stretch, v / stretch)
    border = draw.uniform(0.22, 0.55) * np.ones_like(angle)
    for wave in range(2, 7):
        border *= 1 + 0.14 * _unit(draw) / wave**0.5 * np.cos(wave * angle + draw.uniform(0, 2 * math.pi))
    softness = draw.uniform(0.015, 0.09)
    cover: Field = (1 / (1 + np.exp(np.clip((distance - border) / softness, -30, 30)))).astype(np.float32)
    return cover


def _hair(x: Axes, y: Axes, draw: np.random.Generator, size: int) -> Field:
    """Return the darkness of one curved line, in [0,1], about one pixel wide."""
    turn, offset, bend = draw.uniform(0, math.pi), draw.uniform(-0.9, 0.9), draw.uniform(-0.5, 0.5)
    along = x * math.cos(turn) + y * math.sin(turn)
    across = y * math.cos(turn) - x * math.sin(turn) - offset - bend * along**2
    width = draw.uniform(0.6, 1.2) * 2 / size
    line: Field = (np.exp(-((across / width) ** 2)) * draw.uniform(0.5, 0.95)).astype(np.float32)
    return line


def _noise(draw: np.random.Generator, size: int, coarse: tuple[int, int]) -> Field:
    noise: Field = smooth_noise(draw, (1, size, size), (1, *coarse))[0]
    return noise


def _unit(draw: np.random.Generator) -> float:
    return float(np.clip(draw.standard_normal(), -2, 2))
