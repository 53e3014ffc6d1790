"""Training episodes: a supervoxel seen in two adjacent slices of a scan, one the support, one the query.

The self-supervision of ADNet (Hansen et al., MedIA 2022, arXiv 2203.02048, "Supervoxels"). Published: one
of the two slices is transformed at random. Here each gets a random view of its own, by the ranges of
SSL-ALPNet (`episodes.augment`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from episodes.sampling.augment import Augmentation
from episodes.sampling.base import MappedSampler, Picks, Prepare, below, numbers_on
from episodes.store.index import ClassSliceIndex
from episodes.store.slices import SliceReader
from fewshot.base.errors import UserError
from fewshot.base.seeds import seed_for
from fewshot.base.types import SliceRef


class SupervoxelMaps(Protocol):
    """What is read of supervoxels; `episodes.supervoxels.Supervoxels` is one."""

    def scan(self, scan_id: str, /) -> NDArray[Any]: ...


@dataclass(frozen=True)
class _Item:
    """A slice, and all it can be paired by: `numbers[i]` is also in the adjacent, allowed `others[i]`."""

    ref: SliceRef
    others: NDArray[np.int64]
    numbers: NDArray[np.int64]


class SupervoxelEpisodes(MappedSampler):
    """Supervoxel episodes of some slices of the training scans; `episode(step)` depends on the step alone.

    A training item is a slice, uniform over the slices of `training_scans` in `allowed` (None: all are
    allowed) that share a supervoxel with an allowed slice next to them. Of these supervoxels and neighbours
    a pair is drawn uniformly, and then which of the two slices is the support. Both masks hold a pixel or
    more before augmentation. `augmentation` is a preset's name or the ranges themselves; `prepare` is the
    learner's. Raises `UserError` for an unknown name, or where no slice is left to train on.
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
        augmentation: str | Augmentation = "published",
        batch: int = 1,
        prepare: Prepare | None = None,
    ) -> None:
        super().__init__(reader, seed, augmentation, batch, prepare)
        self._supervoxels = supervoxels
        slices = index.all_slices(tuple(training_scans))
        kept = [ref for ref in slices if allowed is None or ref in allowed]
        self._items = self._paired(kept)
        self.slices = tuple(item.ref for item in self._items)
        if not self._items:
            raise UserError(
                f"no slice to train on: of {len(slices)} slices of {len(training_scans)} training scans "
                f"{len(kept)} are allowed and none of these shares a supervoxel with an allowed slice next "
                "to it; use setting 1, other groups or more scans"
            )

    def picks(self, step: int) -> Picks:
        """Return two adjacent slices and a supervoxel that both show, of each of the step's episodes.

        `label` names scan, slices and supervoxel of each, as `scan:support>query:number`, separated by
        spaces.
        """
        generator = torch.Generator().manual_seed(seed_for("supervoxel-episode", self._seed, step))
        chosen = [self._choose(generator) for _ in range(self._batch)]
        refs = (*(support for support, _, _ in chosen), *(query for _, query, _ in chosen))
        numbers = tuple(number for _, _, number in chosen)
        told = (f"{one.scan}:{one.z}>{other.z}:{number}" for one, other, number in chosen)
        return Picks(refs, numbers * 2, " ".join(told), generator)

    def map_of(self, ref: SliceRef) -> NDArray[Any]:
        """Return the slice's supervoxels (H,W)."""
        return self.reader.cut(self._supervoxels.scan(ref.scan), ref)

    def _choose(self, generator: torch.Generator) -> tuple[SliceRef, SliceRef, int]:
        """Draw support, query and the number of a supervoxel that both show."""
        item = self._items[below(len(self._items), generator)]
        pair = below(len(item.numbers), generator)
        one, other = item.ref, SliceRef(item.ref.scan, int(item.others[pair]))
        support, query = (one, other) if below(2, generator) == 0 else (other, one)
        return support, query, int(item.numbers[pair])

    def _paired(self, kept: Sequence[SliceRef]) -> tuple[_Item, ...]:
        """Return the slices of `kept` that share a supervoxel with a slice of `kept` next to them."""
        shown = {ref: numbers_on(self.map_of(ref)) for ref in kept}
        items = []
        for ref, here in shown.items():
            others, numbers = [], []
            for z in (ref.z - 1, ref.z + 1):
                there = shown.get(SliceRef(ref.scan, z))
                if there is not None:
                    both = np.intersect1d(here, there, assume_unique=True)
                    others.append(np.full(len(both), z))
                    numbers.append(both)
            if sum(map(len, numbers)):
                items.append(_Item(ref, np.concatenate(others), np.concatenate(numbers)))
        return tuple(items)
