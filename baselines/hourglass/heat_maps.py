"""Heat-maps of landmarks: targets, the loss of a stack, peaks and the share of correct key points.

N pictures, C channels, H x W pixels. Points are (row, column) in pixels, counted from 0. Rules HG-5 to HG-7
of docs/landmarks.md.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

VARIANCE = 5.0  # of the bell around a point, in square pixels
SPLIT = 0.2  # a component of a heat-map is what lies above this share of its maximum
TOLERANCE = 0.5 * 256 / 10  # pixels of 256 within which a key point is correct
EIGHT = np.ones((3, 3), dtype=np.int64)  # neighbours of a pixel, diagonals too


def bell(point: NDArray[np.float64], shape: tuple[int, int], variance: float) -> NDArray[np.float64]:
    """Return exp(-d^2 / (2 variance)) for the distance d to a point (row, column), in [0,1], (H,W)."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    squared = (rows - point[0]) ** 2 + (columns - point[1]) ** 2
    values: NDArray[np.float64] = np.exp(-squared / (2 * variance))
    return values


def quantised_map(points: NDArray[np.float64], shape: tuple[int, int], variance: float) -> NDArray[np.uint8]:
    """Return the published heat-map of all points (P,2): the maximum of bells, cut off to uint8, (H,W)."""
    total = np.zeros(shape, dtype=np.uint8)
    for point in points:
        total = np.maximum(total, (255 * bell(point, shape, variance)).astype(np.uint8))
    return total


def split_map(heat: NDArray[np.float64], channels: int) -> NDArray[np.float64]:
    """Return the components of a heat-map (H,W) in [0,1], top to bottom, as channels (C,H,W).

    A component is a connected region above 0.2. Those beyond the last channel are dropped, as published.
    """
    regions, number = ndimage.label(heat > SPLIT, structure=EIGHT)
    centres = ndimage.center_of_mass(heat, regions, range(1, number + 1))
    order = sorted(range(number), key=lambda place: centres[place])
    maps = np.zeros((channels, *heat.shape))
    for channel, place in enumerate(order[:channels]):
        maps[channel] = np.where(regions == place + 1, heat, 0.0)
    return maps


def published_targets(
    points: NDArray[np.float64], shape: tuple[int, int], side: int, channels: int, variance: float
) -> NDArray[np.float64]:
    """Return the published targets (C,side,side) of points (P,2) of a slice of `shape` pixels.

    The heat-map of all points is cut off to uint8 on the slice's pixels, resized, scaled to [0,1] and split
    into its components.
    """
    heat = torch.from_numpy(quantised_map(points, shape, variance).astype(np.float64))
    if shape != (side, side):
        heat = F.interpolate(heat[None, None], size=(side, side), mode="bilinear", align_corners=False)[0, 0]
    scaled = heat - heat.min()
    top = float(scaled.max())
    return split_map((scaled / top).numpy() if top > 0 else scaled.numpy(), channels)


def separate_targets(
    points: NDArray[np.float64], shape: tuple[int, int], side: int, channels: int, variance: float
) -> NDArray[np.float64]:
    """Return one bell for each of the points (P,2), top to bottom, on a picture's pixels: (C,side,side)."""
    scale = side / np.asarray(shape, dtype=np.float64)
    maps = np.zeros((channels, side, side))
    ordered = points[np.argsort(points[:, 0], kind="stable")][:channels]
    for channel, point in enumerate(ordered):
        maps[channel] = bell((point + 0.5) * scale - 0.5, (side, side), variance)
    return maps


def stack_loss(predicted: Tensor, target: Tensor, visible: Tensor) -> Tensor:
    """Return the loss of one stack: half the mean squared error, a mean over all C channels.

    predicted and target (N,C,H,W); visible (N,C) is 1 for a channel with a point. A channel without a point
    adds 0, and the sum is divided by all channels.
    """
    weights = visible[:, :, None, None]
    return 0.5 * (weights * predicted - weights * target).square().mean()


def weighted_loss(predicted: Tensor, target: Tensor, weight: float) -> Tensor:
    """Return half the mean squared error over all channels, where the target counts `weight` times more.

    predicted and target (N,C,H,W). A channel without a point has the target 0, so its peak stays low.
    """
    return 0.5 * ((1 + weight * target) * (predicted - target).square()).mean()


def peaks(maps: Tensor) -> Tensor:
    """Return the place (x,y) of the maximum of each map (N,C,H,W), counted from 1, (N,C,2)."""
    width = maps.shape[-1]
    place = maps.flatten(2).argmax(dim=2)
    return torch.stack([place % width + 1, place // width + 1], dim=2)


def correct_keypoints(predicted: Tensor, target: Tensor, visible: Tensor) -> float:
    """Return the share of visible points whose peak is nearer than 12.8 pixels of 256; NaN without any.

    predicted and target (N,C,H,W); visible (N,C).
    """
    distance = (peaks(predicted) - peaks(target)).double().norm(dim=2)[visible > 0]
    if len(distance) == 0:
        return float("nan")
    return float((distance < TOLERANCE * predicted.shape[-1] / 256).double().mean())
