"""Training episodes: a supervoxel seen in two slices of a scan, one the support, one the query.

The self-supervision of ADNet (Hansen et al., MedIA 2022, arXiv 2203.02048, "Supervoxels") and of Q-Net (Shen
et al., IntelliSys 2023, arXiv 2208.11451), as released; rules EPISODE-1 to EPISODE-5 of docs/methods.md. The
programs draw, look and draw again; here what such a draw ends in is drawn at once, with the same chances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from episodes.sampling.augment import Augmentation, Draw, draw_one_side
from episodes.sampling.base import MappedSampler, Picks, Prepare, randint
from episodes.store.index import ClassSliceIndex
from episodes.store.slices import SliceReader
from fewshot.base.errors import UserError, unknown_name
from fewshot.base.seeds import seed_for
from fewshot.base.types import SliceRef

LEAST_AREA = 200  # pixels of a supervoxel on a slice of a pair, whatever the slices' size


class SupervoxelMaps(Protocol):
    """What is read of supervoxels; `episodes.supervoxels.Supervoxels` is one."""

    def scan(self, scan_id: str, /) -> NDArray[Any]: ...


class Shown(NamedTuple):
    """A slice that shows a supervoxel, and on how many pixels."""

    z: int
    area: int


class Place(NamedTuple):
    """A place in the slices that show a supervoxel: a pair, its chance, and whether it is large enough."""

    lower: int
    upper: int
    chance: float
    is_large: bool


class SupervoxelPair(NamedTuple):
    """Two slices of a scan that show a supervoxel, and the chance of ending in them."""

    scan: str
    lower: int
    upper: int
    number: int
    chance: float


def listed_pairs(shown: Sequence[Shown]) -> list[Place]:
    """Return the pairs (i, i+1) of the list of slices that show a supervoxel, all alike (ADNet, EPISODE-3).

    Slices that do not show it, or that training may not use, are jumped. A pair needs 200 pixels on its
    first, lower slice.
    """
    places = list(pairwise(shown))
    return [Place(one.z, two.z, 1 / len(places), one.area >= LEAST_AREA) for one, two in places]


def run_pairs(shown: Sequence[Shown]) -> list[Place]:
    """Return the adjacent pairs of a supervoxel: a run of slices uniformly, then a place in it (EPISODE-4).

    Runs of a single slice are left out. A pair needs 200 pixels on the larger of both slices (Q-Net).
    """
    groups = groupby(enumerate(shown), lambda item: item[1].z - item[0])
    runs = [[one for _, one in group] for _, group in groups]
    runs = [run for run in runs if len(run) > 1]
    return [
        Place(one.z, two.z, 1 / len(runs) / (len(run) - 1), max(one.area, two.area) >= LEAST_AREA)
        for run in runs
        for one, two in pairwise(run)
    ]


PAIRS: dict[str, Callable[[Sequence[Shown]], list[Place]]] = {"listed": listed_pairs, "runs": run_pairs}


class SupervoxelEpisodes(MappedSampler):
    """Supervoxel episodes of some slices of the training scans; `episode(step)` depends on the step alone.

    A scan is drawn uniformly, then one of its supervoxels that show on two or more slices in `allowed` (None:
    all are allowed), then a pair of them by `pairs`, "listed" or "runs". A pair that is too small has another
    supervoxel drawn, one without runs another scan. A coin says which of the two is the support. One of the
    two images has its gamma changed and one, by another coin, is warped with its mask, which may so become
    empty. A scan that can give no pair is left out. `augmentation` is a preset's name or the ranges
    themselves; `prepare` is the learner's. Raises `UserError` for an unknown name, or where no pair is left
    to train on.
    """

    def __init__(
        self,
        reader: SliceReader,
        supervoxels: SupervoxelMaps,
        index: ClassSliceIndex,
        training_scans: Sequence[str],
        allowed: frozenset[SliceRef] | None,
        *,
        seed: int,
        pairs: str = "listed",
        augmentation: str | Augmentation = "published",
        batch: int = 1,
        prepare: Prepare | None = None,
    ) -> None:
        super().__init__(reader, seed, augmentation, batch, prepare)
        if pairs not in PAIRS:
            raise unknown_name("rule of pairs", pairs, PAIRS)
        self._supervoxels = supervoxels
        slices = index.all_slices(tuple(training_scans))
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
        """Draw which slice of each pair is warped and which has its gamma changed, and how (EPISODE-5)."""
        return draw_one_side(self.augmentation, count, size, device, generator)

    def picks(self, step: int) -> Picks:
        """Return two slices and a supervoxel that both show, of each of the step's episodes.

        `label` names scan, slices and supervoxel of each, as `scan:support>query:number`, separated by
        spaces.
        """
        generator = torch.Generator().manual_seed(seed_for("supervoxel-episode", self._seed, step))
        chosen = [self._choose(generator) for _ in range(self._batch)]
        refs = (*(support for support, _, _ in chosen), *(query for _, query, _ in chosen))
        numbers = tuple(number for _, _, number in chosen)
        labels = (f"{one.scan}:{one.z}>{other.z}:{number}" for one, other, number in chosen)
        return Picks(refs, numbers * 2, " ".join(labels), generator)

    def map_of(self, ref: SliceRef) -> NDArray[Any]:
        """Return the slice's supervoxels (H,W)."""
        return self.reader.cut(self._supervoxels.scan(ref.scan), ref)

    def _choose(self, generator: torch.Generator) -> tuple[SliceRef, SliceRef, int]:
        """Draw support, query and the number of a supervoxel that both show."""
        place = float(torch.rand((), generator=generator, dtype=torch.float64)) * self._chances[-1]
        last = len(self._pairs) - 1
        pair = self._pairs[min(int(np.searchsorted(self._chances, place, side="right")), last)]
        lower, upper = SliceRef(pair.scan, pair.lower), SliceRef(pair.scan, pair.upper)
        support, query = (lower, upper) if randint(2, generator) == 0 else (upper, lower)
        return support, query, pair.number

    def _of_scan(
        self, scan: str, refs: Sequence[SliceRef], pairs_of: Callable[[Sequence[Shown]], list[Place]]
    ) -> Iterator[SupervoxelPair]:
        """Yield the pairs of a scan; their chances add up to 1 but for those of drawing another scan.

        A draw of a supervoxel ends in a large pair (its chance), in leaving the scan (no pair at all) or in
        another draw, so the chance of each large pair is its own over that of not drawing again.
        """
        shown: dict[int, list[Shown]] = {}
        for ref in refs:
            areas = np.bincount(self.map_of(ref).ravel())
            for number in (np.flatnonzero(areas[1:]) + 1).tolist():
                shown.setdefault(number, []).append(Shown(ref.z, int(areas[number])))
        places = {number: pairs_of(slices) for number, slices in sorted(shown.items()) if len(slices) > 1}
        leaving = sum(not some for some in places.values())
        ending = leaving + sum(one.chance for some in places.values() for one in some if one.is_large)
        for number, some in places.items():
            for one in some:
                if one.is_large:
                    yield SupervoxelPair(scan, one.lower, one.upper, number, one.chance / ending)
