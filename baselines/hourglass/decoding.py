"""From heat-maps to points: candidates of the channels, the visible channels, the chain that fits a skeleton.

C channels, H x W pixels. Points are (row, column) in pixels of a map. Rules HG-8 to HG-11 of
docs/landmarks.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from baselines.hourglass.heat_maps import EIGHT
from baselines.hourglass.skeleton import Points, best_chain, normalised_chain

HALF = 0.5  # candidates are regions above this share of a channel's maximum
MOST = 32  # candidates of a channel, the strongest


@dataclass(frozen=True)
class Chain:
    """The points of one picture: `places` (P,2), `scores` (P,) their peaks, `channels` (P,)."""

    places: Points
    scores: NDArray[np.float64]
    channels: NDArray[np.int64]


def channels_by_count(maps: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Return the published choice of channels of maps (C,H,W): the first `count`, the true number."""
    return np.arange(min(count, len(maps)))


def channels_by_peak(maps: NDArray[np.float64], gate: float) -> NDArray[np.int64]:
    """Return the channels of maps (C,H,W) whose peak is at least `gate`."""
    return np.flatnonzero(maps.max(axis=(1, 2)) >= gate)


def candidates_of(heat: NDArray[np.float64], weighted: bool) -> Points:
    """Return the centres (K,2) of the regions of a map (H,W) above half its maximum, the strongest first.

    `weighted`: centres by the values of the map; else each pixel counts 1, as published. The map has a
    maximum above 0.
    """
    shown = np.where(heat >= HALF * heat.max(), heat, 0.0)
    regions, number = ndimage.label(shown > 0, structure=EIGHT)
    labels = range(1, number + 1)
    strength = np.zeros(number + 1)  # ndimage.maximum sorts every pixel of the map
    np.maximum.at(strength, regions[regions > 0], shown[regions > 0])
    centres = np.asarray(ndimage.center_of_mass(shown if weighted else shown > 0, regions, labels))
    chosen: Points = centres[np.argsort(-strength[1:], kind="stable")[:MOST]]
    return chosen


def decode(maps: NDArray[np.float64], channels: NDArray[np.int64], skeleton: Points, weighted: bool) -> Chain:
    """Return the points of heat-maps (C,H,W) in the chosen channels.

    Args:
        maps: of one picture.
        channels: from `channels_by_count` or `channels_by_peak`; one without a positive value has no point.
        skeleton: mean skeleton (C,2) of the training pictures, NaN for joints that none has.
        weighted: as in `candidates_of`.
    """
    top = maps.max(axis=(1, 2))
    used = np.array([channel for channel in channels if top[channel] > 0], dtype=np.int64)
    found = [candidates_of(maps[channel], weighted) for channel in used]
    several = len(found) > 1 and any(len(places) > 1 for places in found)
    chosen = best_chain(found, relative_to_first(skeleton, used)) if several else [0] * len(found)
    places = [places[number] for places, number in zip(found, chosen, strict=True)]
    return Chain(np.array(places).reshape(-1, 2), top[used], used)


def relative_to_first(skeleton: Points, channels: NDArray[np.int64]) -> Points:
    """Return the joints of a skeleton (C,2) in some channels: the first as origin, the anchor as unit.

    Channels 0 to 4 and more give the skeleton itself. A joint that no training picture has stays NaN.
    """
    chain = skeleton[channels]
    normalised = normalised_chain(chain)
    return chain if normalised is None or np.isnan(normalised).all() else normalised


def decode_sum(maps: NDArray[np.float64], gate: float, variance: float) -> Chain:
    """Return the peaks of the sum of all heat-maps (C,H,W), top to bottom, each of at least `gate`.

    A squared error makes a channel the chance that its disc lies there, so their sum is the chance of any
    disc, also where the network is unsure of its number. With s the root of `variance`, the sum is smoothed
    by s / 2, a peak is the largest value within 2 s pixels, and its place the centre of the values within
    1.5 s. The channels of the chain are -1: the place in the chain alone numbers a disc.
    """
    deviation = variance**0.5
    summed = ndimage.gaussian_filter(np.clip(maps, 0, None).sum(axis=0), deviation / 2)
    window = 2 * round(2 * deviation) + 1
    tops = np.argwhere((summed == ndimage.maximum_filter(summed, window)) & (summed >= gate))
    reach = round(1.5 * deviation)
    places = [_centre_near(summed, int(row), int(column), reach) for row, column in tops]
    scores = np.array([summed[row, column] for row, column in tops])
    order = np.argsort([place[0] for place in places], kind="stable").astype(np.int64)
    ordered = np.array(places).reshape(-1, 2)[order]
    return Chain(ordered, scores[order], np.full(len(order), -1, dtype=np.int64))


def _centre_near(heat: NDArray[np.float64], row: int, column: int, reach: int) -> tuple[float, float]:
    """Return the centre of the values of a map (H,W) within `reach` pixels of a place."""
    top, left = max(0, row - reach), max(0, column - reach)
    window = heat[top : row + reach + 1, left : column + reach + 1]
    rows, columns = np.indices(window.shape)
    total = window.sum()
    return top + float((window * rows).sum() / total), left + float((window * columns).sum() / total)
