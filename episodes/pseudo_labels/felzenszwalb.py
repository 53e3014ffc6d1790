"""Felzenszwalb and Huttenlocher's graph segmentation of a volume; the one module that imports numba, on use.

"Efficient Graph-Based Image Segmentation", IJCV 59(2), 2004, section 3, carried over from pixels to voxels.
No maintained package has it for volumes. The loop over edges is compiled at its first call in a process, a
few seconds that nobody pays who doesn't need it, and not kept on disk: an installation may be read-only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Compile = Callable[[Callable[..., Any]], Callable[..., Any]]
Segment = Callable[..., NDArray[np.int32]]

_COMPILING = threading.Lock()


def segment_volume(volume: NDArray[Any], k: float, min_size: int) -> NDArray[np.int32]:
    """Return the segments of a volume (Z,Y,X): numbers from 0 in the order of their first voxels.

    Voxels that share a face are joined by an edge whose weight is the difference of their intensities,
    computed in double. Edges are taken from the smallest weight up, equal ones in a fixed order: those
    along z, then y, then x, each in the order of the array. One joins two segments if its weight is at
    most min(Int(A) + k / |A|, Int(B) + k / |B|), |A| in voxels and Int(A) the largest weight that joined A.
    Then, in the same order, an edge joins two segments if one has fewer than `min_size` voxels.

    Nothing depends on the machine: the arithmetic is exact or rounded alike everywhere, and the sort is
    stable. Other threads run meanwhile; a voxel needs some 90 bytes. Raises `ValueError` for what is not a
    volume of finite values, k < 0 and min_size < 1.
    """
    if volume.ndim != 3 or volume.size == 0 or k < 0 or min_size < 1:
        raise ValueError(f"shape {volume.shape}, k {k}, min_size {min_size}: wanted (Z,Y,X), >= 0 and >= 1")
    values = volume.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("the volume has values that are not finite")
    first, second, weights = _edges(values)
    order = np.argsort(weights, kind="stable")
    numbers = _compiled()(first, second, weights, order, values.size, float(k), min_size)
    return numbers.reshape(volume.shape)


def _edges(values: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    """Return both ends (flat positions) and the weight of every edge, axis by axis."""
    positions = np.arange(values.size, dtype=np.int32).reshape(values.shape)
    first, second, weights = [], [], []
    for axis in range(3):
        length = values.shape[axis]
        low, high = (np.take(positions, range(at, at + length - 1), axis) for at in (0, 1))
        first.append(low.ravel())
        second.append(high.ravel())
        weights.append(np.abs(np.diff(values, axis=axis)).ravel())
    return np.concatenate(first), np.concatenate(second), np.concatenate(weights)


def _compiled() -> Segment:
    """Return the compiled loop; threads that ask at once wait for one compilation."""
    with _COMPILING:
        return _compile()


@cache
def _compile() -> Segment:
    from numba import njit

    return loop(njit(nogil=True))


def loop(compiled: Compile) -> Segment:
    """Return the loop over edges, each of its functions passed through `compiled`."""

    @compiled
    def root(parent: Any, node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    @compiled
    def join(parent: Any, size: Any, a: int, b: int) -> int:
        """Join two roots, the smaller into the larger; return the root of both."""
        if size[a] < size[b]:
            a, b = b, a
        parent[b] = a
        size[a] += size[b]
        return a

    @compiled
    def segment(
        first: Any, second: Any, weights: Any, order: Any, count: int, k: float, min_size: int
    ) -> NDArray[np.int32]:
        parent = np.arange(count, dtype=np.int32)
        size = np.ones(count, dtype=np.int32)
        inner = np.zeros(count, dtype=np.float64)
        for edge in order:
            a, b = root(parent, first[edge]), root(parent, second[edge])
            if a != b and weights[edge] <= min(inner[a] + k / size[a], inner[b] + k / size[b]):
                inner[join(parent, size, a, b)] = weights[edge]
        for edge in order:
            a, b = root(parent, first[edge]), root(parent, second[edge])
            if a != b and (size[a] < min_size or size[b] < min_size):
                join(parent, size, a, b)
        numbers = np.empty(count, dtype=np.int32)
        number_of = np.full(count, -1, dtype=np.int32)
        following = 0
        for node in range(count):
            top = root(parent, node)
            if number_of[top] < 0:
                number_of[top] = following
                following += 1
            numbers[node] = number_of[top]
        return numbers

    return segment
