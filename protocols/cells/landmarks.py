"""Points of query scans, from landmark learners or as centres of masks, matched with the true ones in mm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from episodes.plan.plan import EvaluationPlan
from episodes.store.slices import SliceReader
from fewshot.base.types import SliceRef, Task
from results.metrics.landmarks import match_points
from results.records.record_parts import LandmarkScore

DIGITS = 4  # of a millimetre in records
Places = NDArray[np.float64]  # (P,2): rows and columns in pixels


def mask_centres(mask: NDArray[np.bool_]) -> Places:
    """Return the centres (P,2) of the connected regions of a mask (H,W), from top to bottom."""
    regions, number = ndimage.label(mask, structure=np.ones((3, 3), dtype=np.int64))
    centres = ndimage.center_of_mass(mask, regions, range(1, number + 1))
    return np.array(sorted(centres), dtype=np.float64).reshape(-1, 2)


class LandmarkCounter:
    """Collects the points of the plans of one fold, query scan by query scan.

    Args:
        reader: of a store that has points.
    """

    def __init__(self, reader: SliceReader) -> None:
        self._reader = reader
        self._found: dict[tuple[str, str, str, tuple[str, ...]], dict[SliceRef, Places]] = {}

    def add(
        self, plan: EvaluationPlan, task: Task, refs: Sequence[SliceRef], scored: Sequence[bool],
        places: Sequence[Places],
    ) -> None:  # fmt: skip
        """Keep the predicted points (P,2) of each scored slice of a task."""
        supports = tuple(dict.fromkeys(ref.scan for ref in task.support))
        key = (plan.hash, task.class_name, task.queries[0].scan, supports)
        kept = {ref: each for ref, each, counts in zip(refs, places, scored, strict=True) if counts}
        self._found.setdefault(key, {}).update(kept)

    def scores(self, plan: EvaluationPlan) -> tuple[LandmarkScore, ...]:
        """Return one score for each class, query scan and support of a plan, in the order of its tasks."""
        return tuple(
            self._score(name, scan, supports, slices)
            for (owner, name, scan, supports), slices in self._found.items()
            if owner == plan.hash
        )

    def _score(
        self, name: str, scan: str, supports: tuple[str, ...], slices: Mapping[SliceRef, Places]
    ) -> LandmarkScore:
        true = self._in_mm({ref: self._reader.points(ref) for ref in slices})
        predicted = self._in_mm(slices)
        distances = [distance for _true, _predicted, distance in match_points(true, predicted)]
        points = tuple(tuple(round(float(value), DIGITS) for value in point) for point in predicted)
        rounded = tuple(round(distance, DIGITS) for distance in distances)
        return LandmarkScore(name, scan, supports, len(slices), len(true), points, rounded)

    def _in_mm(self, slices: Mapping[SliceRef, Places]) -> Places:
        """Return the points of slices as (z,y,x) in mm from the centre of the scan's first voxel, (P,3)."""
        points = [
            (ref.z * dz, row * dy, column * dx)
            for ref, places in slices.items()
            for dz, dy, dx in [self._reader.spacing_mm(ref)]
            for row, column in places
        ]
        return np.array(points, dtype=np.float64).reshape(-1, 3)
