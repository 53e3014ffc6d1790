"""Training episodes with a supervoxel on two slices of a scan, one the support and one the query.

The self-supervision of ADNet (Hansen et al., MedIA 2022, arXiv 2203.02048, "Supervoxels") and of Q-Net (Shen
et al., IntelliSys 2023, arXiv 2208.11451), as released; rules EPISODE-1 to EPISODE-5 of docs/methods.md. The
released programs redraw until a pair fits; this sampler draws a fitting pair at once, with equal probability.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple, Protocol, Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from episodes.sampling.augment import Draw, draw_one_side
from episodes.sampling.base import MappedSampler, Picks, ViewOptions, randint
from episodes.store.index import ClassSliceIndex
from episodes.store.slices import SliceReader
from fewshot.base.errors import UserError, unknown_name
from fewshot.base.seeds import seed_for
from fewshot.base.types import SliceRef

LEAST_AREA = 200  # least pixels of a supervoxel on a slice of a pair, for slices of any size


class SupervoxelMaps(Protocol):
    """Source of supervoxel maps, such as `episodes.pseudo_labels.supervoxels.Supervoxels`."""

    def scan(self, scan_id: str, /) -> NDArray[Any]: ...


class Shown(NamedTuple):
    """A slice `z` that shows a supervoxel, and its `area` there in pixels."""

    z: int
    area: int


class Place(NamedTuple):
    """Two slices that show a supervoxel, the pair's probability, and whether its area suffices."""

    lower: int
    upper: int
    chance: float
    is_large: bool


class SupervoxelPair(NamedTuple):
    """Two slices of a scan that show a supervoxel, and the probability that a draw ends with them."""

    scan: str
    lower: int
    upper: int
    number: int
    chance: float


def listed_pairs(shown: Sequence[Shown]) -> list[Place]:
    """Return consecutive pairs of the slices that show a supervoxel, equally probable (ADNet, EPISODE-3).

    Slices that do not show it, or that training may not use, are skipped. A pair needs 200 pixels on its
    lower slice.
    """
    places = list(pairwise(shown))
    return [Place(low.z, high.z, 1 / len(places), low.area >= LEAST_AREA) for low, high in places]


def run_pairs(shown: Sequence[Shown]) -> list[Place]:
    """Return pairs of adjacent slices: uniform over runs of slices, then over the pairs of a run (EPISODE-4).

    Runs of a single slice are ignored. A pair needs 200 pixels on one of its slices (Q-Net).
    """
    groups = groupby(enumerate(shown), lambda item: item[1].z - item[0])
    runs = [[item for _, item in group] for _, group in groups]
    runs = [run for run in runs if len(run) > 1]
    return [
        Place(low.z, high.z, 1 / len(runs) / (len(run) - 1), max(low.area, high.area) >= LEAST_AREA)
        for run in runs
        for low, high in pairwise(run)
    ]


PAIRS: dict[str, Callable[[Sequence[Shown]], list[Place]]] = {"listed": listed_pairs, "runs": run_pairs}


class SupervoxelEpisodes(MappedSampler):
    """Draws supervoxel episodes from slices of the training scans; an episode depends only on seed and step.

    The sampler draws a scan, then a supervoxel on two or more admissible slices, then a pair of these slices,
    and a coin decides which is the support. If the pair is too small it draws another supervoxel; if a
    supervoxel has no pair, another scan. Scans without a pair are skipped. One of the two images is
    recoloured and one, by another coin, warped with its mask, which may become empty. `supervoxels` has the
    maps of the scans; `pairs`: rule of pairs, "listed" or "runs". `MappedSampler` explains the other
    arguments and the errors.
    """

    def __init__(
        self,
        reader: SliceReader,
        supervoxels: SupervoxelMaps,
        index: ClassSliceIndex,
        training_scans: Sequence[str],
        allowed: frozenset[SliceRef] | None,
        *,
        pairs: str = "listed",
        **views: Unpack[ViewOptions],
    ) -> None:
        super().__init__(reader, index, training_scans, allowed, **views)
        if pairs not in PAIRS:
            raise unknown_name("rule of pairs", pairs, PAIRS)
        self._supervoxels = supervoxels
        slices = self._every
        usable = [ref for ref in slices if allowed is None or ref in allowed]
        self._pairs = tuple(
            pair
            for scan in training_scans
            for pair in self._of_scan(scan, [ref for ref in usable if ref.scan == scan], PAIRS[pairs])
        )
        if not self._pairs:
            raise UserError(
                f"no slice to train on: of {len(slices)} slices of {len(training_scans)} training scans "
                f"{len(usable)} are allowed and no two of these show a supervoxel on {LEAST_AREA} "
                "pixels; use setting 1, other groups or more scans"
            )
        self._chances = np.cumsum([pair.chance for pair in self._pairs])
        used = {SliceRef(pair.scan, z) for pair in self._pairs for z in (pair.lower, pair.upper)}
        self.slices = tuple(ref for ref in slices if ref in used)

    def draw_views(
        self, count: int, size: tuple[int, int], device: torch.device, generator: torch.Generator
    ) -> Draw:
        """Draw the view to warp and the view to recolour in each pair, and their parameters (EPISODE-5)."""
        return draw_one_side(self.augmentation, count, size, device, generator)

    def picks(self, step: int) -> Picks:
        """Return support slice, query slice and supervoxel of each episode of a step.

        `label` is `scan:support>query:number` for each episode, separated by spaces.
        """
        generator = torch.Generator().manual_seed(seed_for("supervoxel-episode", self._seed, step))
        chosen = [self._choose(generator) for _ in range(self._batch)]
        refs = (*(support for support, _, _ in chosen), *(query for _, query, _ in chosen))
        numbers = tuple(number for _, _, number in chosen)
        labels = (f"{support.scan}:{support.z}>{query.z}:{number}" for support, query, number in chosen)
        return Picks(refs, numbers * 2, " ".join(labels), generator)

    def label_map(self, ref: SliceRef) -> NDArray[Any]:
        """Return the supervoxel map of a slice, (H,W)."""
        return self.reader.crop_slice(self._supervoxels.scan(ref.scan), ref)

    def _choose(self, generator: torch.Generator) -> tuple[SliceRef, SliceRef, int]:
        """Draw support, query, and the number of a supervoxel on both."""
        place = float(torch.rand((), generator=generator, dtype=torch.float64)) * self._chances[-1]
        last = len(self._pairs) - 1
        pair = self._pairs[min(int(np.searchsorted(self._chances, place, side="right")), last)]
        lower, upper = SliceRef(pair.scan, pair.lower), SliceRef(pair.scan, pair.upper)
        support, query = (lower, upper) if randint(2, generator) == 0 else (upper, lower)
        return support, query, pair.number

    def _of_scan(
        self, scan: str, refs: Sequence[SliceRef], pairs_of: Callable[[Sequence[Shown]], list[Place]]
    ) -> Iterator[SupervoxelPair]:
        """Yield the pairs of a scan; their probabilities sum to 1 minus that of drawing another scan.

        A draw of a supervoxel ends with a large pair, with another scan (no pair at all), or with a redraw.
        So the probability of a large pair is its own, divided by that of not redrawing.
        """
        shown: dict[int, list[Shown]] = {}
        for ref in refs:
            areas = np.bincount(self.label_map(ref).ravel())
            for number in (np.flatnonzero(areas[1:]) + 1).tolist():
                shown.setdefault(number, []).append(Shown(ref.z, int(areas[number])))
        places = {number: pairs_of(slices) for number, slices in sorted(shown.items()) if len(slices) > 1}
        leaving = sum(not pairs for pairs in places.values())
        ending = leaving + sum(pair.chance for pairs in places.values() for pair in pairs if pair.is_large)
        for number, pairs in places.items():
            for pair in pairs:
                if pair.is_large:
                    yield SupervoxelPair(scan, pair.lower, pair.upper, number, pair.chance / ending)
