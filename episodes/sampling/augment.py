"""Random views of a slice and its mask: affine, elastic, gamma; batched, on any device.

The augmentation of SSL-ALPNet (Ouyang et al., ECCV 2020, section 3.3): rules M-AUG-1 to M-AUG-5 of
docs/methods.md. There are no flips, because orientation is anatomical. An affine resampling, then an elastic
one; then the mask is rounded, and gamma changes the image only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.sampling.affine import centred_map, corner_map
from fewshot.base.errors import unknown_name
from fewshot.base.memory import to_device

BLUR_SIGMA = 5.0
BLUR_KERNEL = 21
GAMMA_EPSILON = 1e-5


@dataclass(frozen=True)
class Augmentation:
    """Ranges of one random view; every draw is uniform.

    `rotation_deg`, `shift_px` and `shear_deg` are drawn from (-value, value), shift once for each axis;
    `zoom` and `gamma` from (low, high). Zoom > 1 enlarges the image. `elastic_px` scales a blurred field that
    was uniform in (-1, 1); the standard deviation of the displacements is about 0.033 of `elastic_px`.
    `shear_about` "corner" shears about the array's first pixel, as the released programs do, which moves a
    slice sideways (AUGMENT-2 of docs/methods.md); "centre" shears about the slice's centre.
    """

    rotation_deg: float
    shift_px: float
    shear_deg: float
    zoom: tuple[float, float]
    elastic_px: float
    gamma: tuple[float, float]
    shear_about: Literal["corner", "centre"] = "corner"


PRESETS = {
    "published": Augmentation(5.0, 5.0, 5.0, (0.9, 1.2), 10.0, (0.5, 1.5)),
    "centred": Augmentation(5.0, 5.0, 5.0, (0.9, 1.2), 10.0, (0.5, 1.5), "centre"),
    "strong": Augmentation(30.0, 30.0, 30.0, (0.8, 1.3), 20.0, (0.2, 1.8)),
    "none": Augmentation(0.0, 0.0, 0.0, (1.0, 1.0), 0.0, (1.0, 1.0)),
}


@dataclass(frozen=True)
class Sides:
    """Indices of the warped and of the recoloured (gamma) views among `count` views."""

    count: int
    warped: tuple[int, ...]
    recoloured: tuple[int, ...]


def preset(name: str) -> Augmentation:
    """Return the augmentation called `name`; an unknown name raises `UserError` with similar names."""
    if name not in PRESETS:
        raise unknown_name("augmentation", name, PRESETS)
    return PRESETS[name]


@dataclass(frozen=True)
class Draw:
    """Random parameters of N views: `affine` (N,2,3) forward maps, `noise` (N,2,H,W), `gamma` (N).

    `affine` maps centred (x, y), in pixels from the image's centre, to the new position. `noise` is uniform
    in (-1, 1), on the images' device, one field for x and one for y; `apply` blurs it and multiplies it by
    `elastic_px`. Without `sides` every view is warped, then recoloured. With `sides`, `affine` and `noise`
    belong to the views `sides.warped`, and `gamma` to `sides.recoloured`, in that order.
    """

    affine: Tensor
    noise: Tensor
    elastic_px: float
    gamma: Tensor
    sides: Sides | None = None


def draw(
    augmentation: Augmentation,
    count: int,
    size: tuple[int, int],
    device: torch.device,
    generator: torch.Generator,
) -> Draw:
    """Draw the parameters of `count` views.

    Args:
        augmentation: ranges of the parameters.
        count: number of views N.
        size: (H, W) of the views in pixels.
        device: device of the noise. Its generator is seeded from `generator`, so the noise repeats on one
            kind of device and differs between kinds.
        generator: generator on the CPU.
    """
    unit = torch.rand(count, 6, generator=generator, dtype=torch.float64)
    signed = 2 * unit - 1
    angle = torch.deg2rad(signed[:, 0] * augmentation.rotation_deg)
    shift = signed[:, 1:3] * augmentation.shift_px
    shear = torch.deg2rad(signed[:, 3] * augmentation.shear_deg)
    zoom = _between(unit[:, 4], augmentation.zoom)
    gamma = _between(unit[:, 5], augmentation.gamma)
    seed = int(torch.randint(2**62, (), generator=generator))
    noise = _noise((count, 2, *size), device, seed)
    if augmentation.shear_about == "corner":
        affine = corner_map(angle, shift, shear, zoom, size)
    else:
        affine = centred_map(angle, shift, shear, zoom)
    return Draw(affine, noise, augmentation.elastic_px, gamma)


def draw_one_side(
    augmentation: Augmentation,
    count: int,
    size: tuple[int, int],
    device: torch.device,
    generator: torch.Generator,
) -> Draw:
    """Draw for each pair of views, by two fair coins, the view to warp and the view to recolour (EPISODE-5).

    The arguments are those of `draw`. `count` is even; the first view of every pair precedes all second ones,
    as supports precede queries.
    """
    pairs = count // 2
    coins = torch.randint(2, (2, pairs), generator=generator).tolist()
    recoloured, warped = (tuple(n + pairs * side for n, side in enumerate(row)) for row in coins)
    drawn = draw(augmentation, pairs, size, device, generator)
    return replace(drawn, sides=Sides(count, warped, recoloured))


def _noise(shape: tuple[int, ...], device: torch.device, seed: int) -> Tensor:
    """Draw numbers uniform in (-1, 1) on `device`, with a generator of that device."""
    generator = torch.Generator(device).manual_seed(seed)
    return torch.rand(shape, generator=generator, device=device).mul_(2).sub_(1)


def join_draws(draws: Sequence[Draw]) -> Draw:
    """Concatenate the draws of several batches of views; all must have the same augmentation."""
    return Draw(
        torch.cat([drawn.affine for drawn in draws]),
        torch.cat([drawn.noise for drawn in draws]),
        draws[0].elastic_px,
        torch.cat([drawn.gamma for drawn in draws]),
        _join_sides([drawn.sides for drawn in draws if drawn.sides is not None]),
    )


def _join_sides(batches: Sequence[Sides]) -> Sides | None:
    if not batches:
        return None
    starts = list(accumulate((sides.count for sides in batches), initial=0))
    warped, recoloured = (
        tuple(start + place for start, places in zip(starts, each, strict=False) for place in places)
        for each in ([sides.warped for sides in batches], [sides.recoloured for sides in batches])
    )
    return Sides(starts[-1], warped, recoloured)


def apply(images: Tensor, masks: Tensor, drawn: Draw) -> tuple[Tensor, Tensor]:
    """Return the views of images (N,1,H,W) float32 and masks (N,H,W) bool with the parameters `drawn`."""
    if drawn.sides is None:
        seen, seen_masks = _warped(images, masks, drawn)
        return apply_gamma(seen, drawn.gamma), seen_masks
    recoloured, warped = (
        to_device(torch.tensor(places), images.device)
        for places in (drawn.sides.recoloured, drawn.sides.warped)
    )
    changed = apply_gamma(images.index_select(0, recoloured), drawn.gamma)
    images = images.index_copy(0, recoloured, changed)
    chosen = images.index_select(0, warped), masks.index_select(0, warped)
    seen, seen_masks = _warped(*chosen, drawn)
    return images.index_copy(0, warped, seen), masks.index_copy(0, warped, seen_masks)


def _warped(images: Tensor, masks: Tensor, drawn: Draw) -> tuple[Tensor, Tensor]:
    """Return images and masks after the affine maps and elastic fields, one of each per image."""
    both = torch.cat((images, masks.unsqueeze(1).to(images.dtype)), dim=1)
    both = _sample(both, _affine_grid(drawn.affine, images), "zeros")
    if drawn.elastic_px != 0:
        displacement = gaussian_blur(drawn.noise) * drawn.elastic_px
        both = _sample(both, _displaced_grid(displacement), "reflection")
    return both[:, :1], both[:, 1].round().bool()


def augment(
    images: Tensor, masks: Tensor, augmentation: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return one random view of each image and mask, each with its own parameters.

    images (N,1,H,W) float32, masks (N,H,W) bool, on one device; `generator` on the CPU. Pixels from outside
    the image are 0, and False in the mask.
    """
    height, width = images.shape[-2:]
    return apply(images, masks, draw(augmentation, len(images), (height, width), images.device, generator))


def apply_gamma(images: Tensor, gamma: Tensor) -> Tensor:
    """Return r ((x - min + 1e-5) / r)^gamma + min, r = max - min + 1e-5, for each of N images; gamma (N)."""
    exponent = to_device(gamma.to(images.dtype), images.device).view(-1, 1, 1, 1)
    low = images.amin((1, 2, 3), keepdim=True)
    span = images.amax((1, 2, 3), keepdim=True) - low + GAMMA_EPSILON
    return span * ((images - low + GAMMA_EPSILON) / span) ** exponent + low


def gaussian_blur(fields: Tensor) -> Tensor:
    """Blur (N,C,H,W) with a normalised Gaussian, sigma 5, kernel 21 x 21, mirrored at the border.

    Two passes of 21 shifted sums are three times as fast on the CPU as a one-channel convolution.
    """
    reach = BLUR_KERNEL // 2
    weights = [math.exp(-(offset**2) / (2 * BLUR_SIGMA**2)) for offset in range(-reach, reach + 1)]
    scale = sum(weights)
    for axis, padding in ((-1, (reach, reach, 0, 0)), (-2, (0, 0, reach, reach))):
        length = fields.shape[axis]
        padded = F.pad(fields, padding, mode="reflect")
        fields = torch.zeros_like(fields)
        for offset, weight in enumerate(weights):
            fields.add_(padded.narrow(axis, offset, length), alpha=weight / scale)
    return fields


def _between(unit: Tensor, bounds: tuple[float, float]) -> Tensor:
    low, high = bounds
    return low + unit * (high - low)


def _sample(images: Tensor, grid: Tensor, outside: str) -> Tensor:
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=outside, align_corners=False)


def _axes(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return x (1,1,W) and y (1,H,1) of the pixel centres, in pixels from the image's centre."""
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device, dtype=torch.float32) - (width - 1) / 2
    y = torch.arange(height, device=images.device, dtype=torch.float32) - (height - 1) / 2
    return x.view(1, 1, -1), y.view(1, -1, 1)


def _affine_grid(forward: Tensor, images: Tensor) -> Tensor:
    """Return the source position of each output pixel, (N,H,W,2), in units of half the image."""
    linear = torch.linalg.inv(forward[:, :, :2])
    offset = -(linear @ forward[:, :, 2:])
    both = torch.cat((linear, offset), dim=2).to(torch.float32)
    inverse = to_device(both, images.device).view(-1, 2, 3, 1, 1)
    height, width = images.shape[-2:]
    x, y = _axes(images)
    source_x = inverse[:, 0, 0] * x + inverse[:, 0, 1] * y + inverse[:, 0, 2]
    source_y = inverse[:, 1, 0] * x + inverse[:, 1, 1] * y + inverse[:, 1, 2]
    return torch.stack((source_x * (2 / width), source_y * (2 / height)), dim=-1)


def _displaced_grid(displacement: Tensor) -> Tensor:
    """Return the identity grid plus `displacement` (N,2,H,W) in pixels, x first; units as `_affine_grid`."""
    height, width = displacement.shape[-2:]
    x, y = _axes(displacement)
    source_x = (displacement[:, 0] + x) * (2 / width)
    source_y = (displacement[:, 1] + y) * (2 / height)
    return torch.stack((source_x, source_y), dim=-1)
