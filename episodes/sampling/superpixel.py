"""Training episodes with a superpixel of a slice as the label, and two random views as support and query.

The self-supervision of SSL-ALPNet (Ouyang et al., ECCV 2020, section 3.3): rules M-SPX-5 and M-SPX-6 of
docs/methods.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from episodes.plan.training_split import with_superpixel
from episodes.sampling.base import MappedSampler, Picks, ViewOptions, numbers_on, randint
from episodes.store.index import ClassSliceIndex
from episodes.store.slices import SliceReader
from fewshot.base.errors import UserError, unknown_name
from fewshot.base.seeds import seed_for
from fewshot.base.types import SliceRef

# Draws one of a slice's superpixel numbers, which are ascending; None if there is no admissible one.
Choose = Callable[[NDArray[np.int64], torch.Generator], int | None]


def _present(numbers: NDArray[np.int64], generator: torch.Generator) -> int | None:
    """Draw uniformly from the numbers on the slice."""
    return int(numbers[randint(len(numbers), generator)]) if len(numbers) else None


def _released(numbers: NDArray[np.int64], generator: torch.Generator) -> int | None:
    """Draw uniformly from 1 .. max-1, including absent numbers, as the released program does."""
    largest = int(numbers[-1]) if len(numbers) else 0
    return 1 + randint(largest - 1, generator) if largest > 1 else None


DRAWS: dict[str, Choose] = {"present": _present, "released": _released}


class SuperpixelEpisodes(MappedSampler):
    """Draws superpixel episodes from slices of the training scans; an episode depends only on seed and step.

    The sampler draws uniformly from all slices of `training_scans`. A slice without a superpixel is replaced
    by the next one with a superpixel, circular over the scans; a slice outside `allowed` is redrawn. `draw`
    "present" takes a superpixel of the slice; "released" draws a number from 1 to max-1, which may be absent,
    so that both masks are empty. `MappedSampler` explains the other arguments and the errors.
    """

    def __init__(
        self,
        reader: SliceReader,
        index: ClassSliceIndex,
        training_scans: Sequence[str],
        allowed: frozenset[SliceRef] | None,
        *,
        draw: str = "present",
        **views: Unpack[ViewOptions],
    ) -> None:
        if draw not in DRAWS:
            raise unknown_name("draw", draw, DRAWS)
        super().__init__(reader, index, training_scans, allowed, **views)
        self._draw = draw
        self._items = self._final_slices(index)
        self.slices = tuple(dict.fromkeys(self._items))
        self._numbers: dict[SliceRef, NDArray[np.int64]] = {}

    def picks(self, step: int) -> Picks:
        """Return slice and superpixel of each episode of a step, equal for support and query.

        `label` is `scan:z:number` for each episode, separated by spaces.
        """
        generator = torch.Generator().manual_seed(seed_for("superpixel-episode", self._seed, step))
        chosen = [self._choose(generator) for _ in range(self._batch)]
        refs, numbers = tuple(ref for ref, _ in chosen), tuple(number for _, number in chosen)
        label = " ".join(f"{ref.scan}:{ref.z}:{number}" for ref, number in chosen)
        return Picks(refs * 2, numbers * 2, label, generator)

    def label_map(self, ref: SliceRef) -> NDArray[np.int32]:
        """Return the superpixel map of a slice, (H,W)."""
        return self.reader.superpixels(ref)

    def _final_slices(self, index: ClassSliceIndex) -> tuple[SliceRef, ...]:
        """Return the final slice of each admissible draw, so that one uniform draw needs no retries.

        Redrawing until a slice is allowed is equivalent to one uniform draw from the draws with an allowed
        result.
        """
        slices, scans, allowed = self._every, self._scans, self._allowed
        usable = frozenset(with_superpixel(index, slices))
        ends: list[SliceRef] = []
        following = next((ref for ref in slices if ref in usable), None)
        for ref in reversed(slices):
            following = ref if ref in usable else following
            if following is not None and (allowed is None or following in allowed):
                ends.append(following)
        if not ends:
            raise UserError(
                f"no slice to train on: of {len(slices)} slices of {len(scans)} training scans {len(usable)} "
                f"have a superpixel and {'all' if allowed is None else len(usable & allowed)} of these are "
                "allowed; use setting 1, other groups or more scans"
            )
        return tuple(reversed(ends))

    def _choose(self, generator: torch.Generator) -> tuple[SliceRef, int]:
        ref = self._items[randint(len(self._items), generator)]
        if ref not in self._numbers:
            self._numbers[ref] = numbers_on(self.label_map(ref))
        number = DRAWS[self._draw](self._numbers[ref], generator)
        if number is None:
            raise UserError(
                f"slice {ref.z} of scan {ref.scan} has no superpixel that draw={self._draw!r} can take; "
                "use draw=present, or prepare the dataset again"
            )
        return ref, number
