"""Random views of pictures as in DenseCL and MoCo v2: parameters are drawn first, then applied in batches.

Rule M-DCL-2 of docs/methods.md. In order: random resized crop, colour jitter, grey, blur, flip, normalisation
by ImageNet's means and standard deviations. Colours lie in [0,1] until the last step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from kornia.enhance import (
    adjust_brightness_accumulative,
    adjust_contrast_with_mean_subtraction,
    adjust_hue,
    adjust_saturation_with_gray_subtraction,
)
from kornia.filters import gaussian_blur2d
from torch import Tensor

SCALE = (0.2, 1.0)  # fraction of the picture's area
RATIO = (3 / 4, 4 / 3)  # width / height
TRIES = 10
JITTER = (0.4, 0.4, 0.4, 0.1)  # brightness, contrast, saturation, hue
JITTERED, GREYED, BLURRED, FLIPPED = 0.8, 0.2, 0.5, 0.5  # probabilities
SIGMA = (0.1, 2.0)  # pixels of the view
REACH = 8  # four times the largest sigma; the kernel has 2 * REACH + 1 pixels a side
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ViewDraw:
    """Random parameters of N views, on the CPU, float64 or bool; they do not depend on the pictures.

    Crop: `area` (N,10) and `ratio` (N,10), one per try; `place` (N,2) in [0,1) from top and left. Colour:
    `jittered` (N) bool; `order` (N,4), int64, a permutation of brightness, contrast, saturation and hue;
    `factors` (N,4), three factors, 1 for no change, and the shift of the hue in turns. `greyed`, `blurred`,
    `flipped` (N) bool; `sigma` (N) in pixels.
    """

    area: Tensor
    ratio: Tensor
    place: Tensor
    jittered: Tensor
    order: Tensor
    factors: Tensor
    greyed: Tensor
    blurred: Tensor
    sigma: Tensor
    flipped: Tensor

    def of(self, start: int, stop: int) -> ViewDraw:
        """Return the parameters of views `start` to `stop` - 1."""
        return ViewDraw(**{field.name: getattr(self, field.name)[start:stop] for field in fields(self)})


def draw_views(count: int, generator: torch.Generator) -> ViewDraw:
    """Draw the parameters of `count` views from `generator`, which is on the CPU."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        unit = torch.rand(count, *shape, generator=generator, dtype=torch.float64)
        return low + unit * (high - low)

    def chance(probability: float) -> Tensor:
        return uniform(0, 1) < probability

    colours = torch.tensor(JITTER, dtype=torch.float64)
    return ViewDraw(
        area=uniform(*SCALE, TRIES),
        ratio=uniform(math.log(RATIO[0]), math.log(RATIO[1]), TRIES).exp(),
        place=uniform(0, 1, 2),
        jittered=chance(JITTERED),
        order=uniform(0, 1, 4).argsort(dim=1),
        factors=uniform(-1, 1, 4) * colours + torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64),
        greyed=chance(GREYED),
        blurred=chance(BLURRED),
        sigma=uniform(*SIGMA),
        flipped=chance(FLIPPED),
    )


def crop_box(drawn: ViewDraw, view: int, height: int, width: int) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of a view's crop of a picture of `height` x `width` pixels.

    It is the first of the ten tries that fits, else the largest central crop with an allowed ratio.
    """
    for area, ratio in zip(drawn.area[view].tolist(), drawn.ratio[view].tolist(), strict=True):
        tall = round(math.sqrt(area * height * width / ratio))
        wide = round(math.sqrt(area * height * width * ratio))
        if 0 < tall <= height and 0 < wide <= width:
            down, right = drawn.place[view].tolist()
            return int(down * (height - tall + 1)), int(right * (width - wide + 1)), tall, wide
    tall, wide = height, width
    if width / height < RATIO[0]:
        tall = round(width / RATIO[0])
    elif width / height > RATIO[1]:
        wide = round(height * RATIO[1])
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def crop(picture: Tensor, box: Sequence[int], size: int) -> Tensor:
    """Crop `box` from a picture and resize it to (3,size,size) float32 in [0,1].

    Bilinear, with antialiasing if the crop shrinks.

    Args:
        picture: (3,H,W), uint8 or float32 in [0,1].
        box: top, left, height, width in pixels.
        size: side of the result in pixels.
    """
    top, left, height, width = box
    cut = picture[:, top : top + height, left : left + width]
    part = cut.float().div_(255) if cut.dtype == torch.uint8 else cut
    resized = F.interpolate(
        part.unsqueeze(0), (size, size), mode="bilinear", antialias=True, align_corners=False
    )
    return resized[0].clamp_(0, 1)


def recolour(views: Tensor, drawn: ViewDraw) -> Tensor:
    """Apply the steps after the crop to views (N,3,S,S) float32 in [0,1]; return a new tensor."""
    views = views.clone()
    for turn in range(len(JITTER)):
        for number, change in enumerate((_brightness, _contrast, _saturation, _hue)):
            chosen = drawn.jittered & (drawn.order[:, turn] == number)
            _change(views, chosen, change, drawn.factors[:, number])
    _change(views, drawn.greyed, _saturation, torch.zeros_like(drawn.sigma))
    _change(views, drawn.blurred, _blur, drawn.sigma)
    flipped = drawn.flipped.to(views.device).view(-1, 1, 1, 1)
    views = torch.where(flipped, views.flip(-1), views)
    mean, std = (torch.tensor(values, device=views.device).view(3, 1, 1) for values in (MEAN, STD))
    return views.sub_(mean).div_(std)


def _change(
    views: Tensor, chosen: Tensor, change: Callable[[Tensor, Tensor], Tensor], amounts: Tensor
) -> None:
    """Replace the views that `chosen` (N) bool selects by change(views, their amounts), in place."""
    numbers = torch.nonzero(chosen)[:, 0]
    if len(numbers):
        amount = amounts[numbers].to(views.device, views.dtype)
        numbers = numbers.to(views.device)
        views[numbers] = change(views[numbers], amount)


def _brightness(views: Tensor, factor: Tensor) -> Tensor:
    return adjust_brightness_accumulative(views, factor)  # kornia's plain adjust_brightness adds


def _contrast(views: Tensor, factor: Tensor) -> Tensor:
    return adjust_contrast_with_mean_subtraction(views, factor)


def _saturation(views: Tensor, factor: Tensor) -> Tensor:
    return adjust_saturation_with_gray_subtraction(views, factor)


def _hue(views: Tensor, turns: Tensor) -> Tensor:
    return adjust_hue(views, 2 * math.pi * turns)


def _blur(views: Tensor, sigma: Tensor) -> Tensor:
    return gaussian_blur2d(views, 2 * REACH + 1, torch.stack((sigma, sigma), dim=1))
