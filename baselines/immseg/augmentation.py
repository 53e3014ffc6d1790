"""Augmentation of I-MMSeg, for each slice: a turn and flip, a rotation or noise; shift, gain and gamma."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.base.seeds import seed_for

TOP = 255.0  # largest value that the published gamma and gain expect, though pictures end at 1


def augment(pictures: Tensor, target: Tensor, step: int, published: bool) -> tuple[Tensor, Tensor]:
    """Return pictures (N,M,S,S) in [0,1] and classes (N,S,S) after the draws of a step.

    Published: one noise for all sequences, and a gamma that reads [0,1] as [0,255], so 1 becomes 0.33 to 3.
    Corrected: noise for each sequence, gamma and gain on [0,1].
    """
    generator = torch.Generator().manual_seed(seed_for("immseg-augment", step))
    pairs = [_one(a, b, generator, published) for a, b in zip(pictures, target, strict=True)]
    return torch.stack([a for a, _b in pairs]), torch.stack([b for _a, b in pairs])


def intensity(values: Tensor, gain: float, gamma: float, published: bool) -> Tensor:
    """Return values in [0,1] times `gain`, to the power `gamma`, cut at the top of the range."""
    top = TOP if published else 1.0
    scaled = (values.clamp(min=0) * gain).clamp(max=top)
    return (scaled / top) ** gamma * top


def _one(
    picture: Tensor, target: Tensor, generator: torch.Generator, published: bool
) -> tuple[Tensor, Tensor]:
    draws = torch.rand(9, generator=generator).tolist()
    if draws[0] < 0.5:
        turns, axis = int(4 * draws[1]), -1 - int(2 * draws[2])
        picture = picture.rot90(turns, (-2, -1)).flip(axis)
        target = target.rot90(turns, (-2, -1)).flip(axis)
    elif draws[3] < 0.5:
        picture, target = _rotated(picture, target, math.radians(40 * draws[4] - 20))
    elif draws[5] < 0.5:
        count = 1 if published else len(picture)
        noise = torch.randn(count, *picture.shape[-2:], generator=generator).to(picture.device)
        picture = picture + 0.2 * noise
    shift = torch.randint(-5, 6, (2,), generator=generator).tolist()
    picture, target = picture.roll(shift, (-2, -1)), target.roll(shift, (-2, -1))
    return intensity(picture, 0.8 + 0.4 * draws[6], 0.8 + 0.4 * draws[7], published), target


def _rotated(picture: Tensor, target: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    cos, sin = math.cos(angle), math.sin(angle)
    turn = picture.new_tensor([[[cos, -sin, 0.0], [sin, cos, 0.0]]])
    grid = F.affine_grid(turn, [1, 1, *picture.shape[-2:]], align_corners=False)
    turned = F.grid_sample(picture[None], grid, mode="bilinear", align_corners=False)[0]
    labels = F.grid_sample(target[None, None].float(), grid, mode="nearest", align_corners=False)
    return turned, labels[0, 0].round().long()
