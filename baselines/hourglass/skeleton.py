"""The skeleton of a spine: chains of points without place and size, and the best chain of candidates.

A chain has J points (row, column). Rules HG-9 and HG-10 of docs/landmarks.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
ANCHOR = 4  # the joint whose distance to the first is the unit of length


def anchor_of(number: int) -> int:
    """Return the joint that sets the unit of length: the fifth, or the last of fewer."""
    return min(ANCHOR, number - 1)


def normalised_chain(chain: Points) -> Points | None:
    """Return (p - p0) / |p0 - p4| of a chain (J,2); None if it has no length.

    The released program takes p4 as (0,0) with fewer than five points; here it is the last point.
    """
    if len(chain) < 2:
        return None
    length = float(np.linalg.norm(chain[anchor_of(len(chain))] - chain[0]))
    return None if length == 0 else (chain - chain[0]) / length


def best_chain(candidates: Sequence[Points], skeleton: Points) -> list[int]:
    """Return the candidate of each joint whose normalised chain is nearest to a skeleton.

    The distance is the Frobenius norm. Place and unit of a chain follow from its first joint and its anchor;
    for each pair of these the other joints are free of each other, so the exact minimum takes
    K_0 K_4 (K_1 + ... + K_J) distances instead of K_0 K_1 ... K_J.

    Args:
        candidates: for each of J >= 2 joints its K candidates (K,2), K >= 1.
        skeleton: (J,2), normalised; a row of NaN has no weight.

    Returns:
        The position of the chosen candidate of each joint; the first of equal ones.
    """
    anchor = anchor_of(len(candidates))
    first, last = candidates[0], candidates[anchor]
    length = np.linalg.norm(first[:, None] - last[None], axis=2)  # (K0,K4)
    unit = np.where(length > 0, length, np.inf)
    total = np.where(length > 0, 0.0, np.inf)
    choices: list[NDArray[np.int64]] = []
    for joint, places in enumerate(candidates):
        relative = (places[None, None] - first[:, None, None]) / unit[:, :, None, None]
        distance = np.nan_to_num(((relative - skeleton[joint]) ** 2).sum(axis=3), nan=0.0)
        if joint in (0, anchor):
            rows, columns = np.indices(length.shape)
            chosen = rows if joint == 0 else columns
            total += np.take_along_axis(distance, chosen[:, :, None], axis=2)[:, :, 0]
        else:
            chosen = distance.argmin(axis=2)
            total += distance.min(axis=2)
        choices.append(chosen)
    best = np.unravel_index(int(total.argmin()), total.shape)
    return [int(chosen[best]) for chosen in choices]
