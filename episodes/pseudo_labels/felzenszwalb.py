"""Felzenszwalb and Huttenlocher's graph segmentation of a volume; the only module that imports numba.

"Efficient Graph-Based Image Segmentation", IJCV 59(2), 2004, section 3, extended from pixels to the 26
neighbours of a voxel, as ADNet's authors do (docs/methods.md, SUPERVOXEL-2 and SUPERVOXEL-3). No maintained
package has it for volumes. numba is imported, and the loops over edges are compiled, at the first call in a
process, which takes a few seconds. The compiled code is not cached on disk, because an installation may be
read-only.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Compile = Callable[[Callable[..., Any]], Callable[..., Any]]

# Offsets (z, y, x) to the 13 neighbours that follow in the array. Edges of equal weight have this order:
# within a slice first, straight along z last.
STEPS = (
    (0, 0, 1), (0, 1, 0), (0, 1, 1), (0, 1, -1),
    (1, 1, 1), (1, 1, -1), (1, -1, 1), (1, -1, -1),
    (1, 0, 1), (1, 0, -1), (1, 1, 0), (1, -1, 0),
    (1, 0, 0),
)  # fmt: skip
TOGETHER = 1 << 24  # edges sorted at once, which bounds the memory
SAMPLE = 1 << 16  # edges sampled to choose the borders of the portions

_COMPILING = threading.Lock()


class Loops(NamedTuple):
    """The compiled functions; `loops` defines them."""

    join_equal: Callable[..., None]
    between: Callable[..., int]
    join_close: Callable[..., None]
    join_small: Callable[..., None]
    numbered: Callable[..., NDArray[np.int32]]


def segment_volume(
    volume: NDArray[Any], k: float, min_size: int, spacing_ratio: float = 1.0
) -> NDArray[np.int32]:
    """Return the segments of a volume (Z,Y,X): numbers from 0 in the order of their first voxels.

    An edge links every voxel to each of its 26 neighbours. The weight of an edge is the absolute difference
    of the two intensities, in double precision, times a factor. The factor is 1 within a slice. Across slices
    it is the root mean square of the steps, with s = `spacing_ratio`: s along z, sqrt((1 + s^2) / 2) with one
    step within the slice, sqrt((2 + s^2) / 3) with two.

    Edges are processed in ascending weight; equal weights in the order of `STEPS`, then of the array. An edge
    joins segments A and B if its weight is below min(Int(A) + k / |A|, Int(B) + k / |B|); |A| is the number
    of voxels and Int(A) the largest weight that joined A; both sums are rounded to single precision. A second
    pass, in the same order, joins two segments if one has fewer than `min_size` voxels.

    The result does not depend on the machine: the arithmetic is exact or rounded as IEEE 754 says, and the
    sort is stable. The compiled loops release the GIL.

    Args:
        volume: intensities (Z,Y,X), finite.
        k: scale of the thresholds, > 0.
        min_size: smallest segment in voxels, >= 1.
        spacing_ratio: distance between slices over that between pixels, > 0.

    Raises:
        ValueError: an argument is out of its range.
    """
    if volume.ndim != 3 or volume.size == 0 or not k > 0 or min_size < 1 or not spacing_ratio > 0:
        raise ValueError(
            f"shape {volume.shape}, k {k}, min_size {min_size}, spacing_ratio {spacing_ratio}: expected "
            "(Z,Y,X), > 0, >= 1 and > 0"
        )
    values = np.ascontiguousarray(volume, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("the volume has values that are not finite")
    compiled, graph = _compiled(), _Graph(values, spacing_ratio)
    parent = np.arange(values.size, dtype=np.int32)
    size, inner = np.ones(values.size, dtype=np.int32), np.zeros(values.size)
    compiled.join_equal(values, graph.steps, parent, size)  # weight 0 is below every threshold
    for first, second, weights in graph.portions(compiled):
        compiled.join_close(first, second, weights, parent, size, inner, float(k))
    for first, second, _weights in graph.portions(compiled):
        compiled.join_small(first, second, parent, size, min_size)
    return compiled.numbered(parent).reshape(volume.shape)


class _Graph:
    """The edges of a volume with a weight above 0, yielded in order without holding all in memory."""

    def __init__(self, values: NDArray[np.float64], spacing_ratio: float) -> None:
        self._values = values
        self.steps = np.array(STEPS, dtype=np.int64)
        self._factors = np.array([_factor(step, spacing_ratio) for step in STEPS])

    def portions(self, compiled: Loops) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
        """Yield (first voxels, second voxels, weights), flat indices, in portions of ascending weight."""
        for low, high in pairwise(self._borders(compiled)):
            first, second, weights = self._between(compiled, low, high)
            order = np.argsort(weights, kind="stable")
            yield first[order], second[order], weights[order]

    def _borders(self, compiled: Loops) -> list[float]:
        """Return weights that divide the edges into portions of about `TOGETHER`."""
        edges = self._values.size * len(STEPS)
        portions = -(-edges // TOGETHER)
        *_, sample = self._between(compiled, 0.0, np.inf, max(1, edges // SAMPLE))
        inner = np.quantile(sample, np.arange(1, portions) / portions) if len(sample) else np.zeros(0)
        return [0.0, *np.unique(inner).tolist(), np.inf]

    def _between(
        self, compiled: Loops, low: float, high: float, every: int = 1
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
        """Return every n-th edge with a weight in (`low`, `high`], n = `every`, in the order of the array."""
        arguments = (self._values, self.steps, self._factors, low, high, every)
        none = np.zeros(0, dtype=np.int32)
        count = compiled.between(*arguments, none, none, np.zeros(0))
        first, second = np.empty(count, dtype=np.int32), np.empty(count, dtype=np.int32)
        weights = np.empty(count)
        compiled.between(*arguments, first, second, weights)
        return first, second, weights


def _factor(step: tuple[int, int, int], ratio: float) -> float:
    """Return the factor of an edge's weight for its step (z,y,x) and the spacing ratio."""
    along, across = abs(step[0]), abs(step[1]) + abs(step[2])
    return math.sqrt((along * ratio**2 + across) / (along + across)) if along else 1.0


def _compiled() -> Loops:
    """Return the compiled loops; concurrent threads wait for one compilation."""
    with _COMPILING:
        return _compile()


@cache
def _compile() -> Loops:
    from numba import njit

    return loops(njit(nogil=True))


def loops(compiled: Compile) -> Loops:
    """Return the loops over edges, with `compiled` applied to every function.

    `parent` and `size` hold the forest of segments: a root is its own parent, and its size counts its voxels.
    """

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
    def join_equal(values: Any, steps: Any, parent: Any, size: Any) -> None:
        """Join all neighbours of equal intensity."""
        depth, height, width = values.shape
        for dz, dy, dx in steps:
            offset = (dz * height + dy) * width + dx
            for z in range(depth - dz):
                for y in range(max(0, -dy), min(height, height - dy)):
                    for x in range(max(0, -dx), min(width, width - dx)):
                        if values[z, y, x] == values[z + dz, y + dy, x + dx]:
                            node = (z * height + y) * width + x
                            a, b = root(parent, node), root(parent, node + offset)
                            if a != b:
                                join(parent, size, a, b)

    @compiled
    def between(
        values: Any, steps: Any, factors: Any, low: float, high: float, every: int, first: Any, second: Any,
        weights: Any,
    ) -> int:  # fmt: skip
        """Write every n-th edge in (low, high] to the last three, if it fits; return the count."""
        depth, height, width = values.shape
        count = seen = 0
        for number in range(len(factors)):
            dz, dy, dx = steps[number]
            offset = (dz * height + dy) * width + dx
            for z in range(depth - dz):
                for y in range(max(0, -dy), min(height, height - dy)):
                    for x in range(max(0, -dx), min(width, width - dx)):
                        difference = abs(values[z, y, x] - values[z + dz, y + dy, x + dx])
                        weight = difference * factors[number]
                        if low < weight <= high:
                            if every == 1 or seen % every == 0:
                                if count < len(weights):
                                    node = (z * height + y) * width + x
                                    first[count], second[count] = node, node + offset
                                    weights[count] = weight
                                count += 1
                            seen += 1
        return count

    @compiled
    def join_close(
        first: Any, second: Any, weights: Any, parent: Any, size: Any, inner: Any, k: float
    ) -> None:
        """Join segments if the edge's weight is below both thresholds; `inner` holds Int of each root."""
        for edge in range(len(weights)):
            a, b = root(parent, first[edge]), root(parent, second[edge])
            if a != b:
                limit_a, limit_b = np.float32(inner[a] + k / size[a]), np.float32(inner[b] + k / size[b])
                if weights[edge] < min(limit_a, limit_b):
                    inner[join(parent, size, a, b)] = weights[edge]

    @compiled
    def join_small(first: Any, second: Any, parent: Any, size: Any, min_size: int) -> None:
        """Join two segments if one has fewer than `min_size` voxels."""
        for edge in range(len(first)):
            a, b = root(parent, first[edge]), root(parent, second[edge])
            if a != b and (size[a] < min_size or size[b] < min_size):
                join(parent, size, a, b)

    @compiled
    def numbered(parent: Any) -> NDArray[np.int32]:
        """Return the number of each voxel's segment, from 0 in the order of their first voxels."""
        numbers = np.empty(len(parent), dtype=np.int32)
        number_of = np.full(len(parent), -1, dtype=np.int32)
        following = 0
        for node in range(len(parent)):
            top = root(parent, node)
            if number_of[top] < 0:
                number_of[top] = following
                following += 1
            numbers[node] = number_of[top]
        return numbers

    return Loops(join_equal, between, join_close, join_small, numbered)
