"""Surface distances of one recorded score from its saved mask; an undefined one has a reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fewshot.base.errors import UserError
from results.metrics.counts import count
from results.metrics.distances import DISTANCES, TOLERANCE_MM, Bools, surface_scores
from results.metrics.measures import measure
from results.records.record_parts import Score

NO_SPACING = "the dataset's spacing is not known"


def distance_score(
    score: Score,
    prediction: Bools,
    truth: Bools,
    spacing_mm: tuple[float, float, float] | None,
    tolerance_mm: float = TOLERANCE_MM,
) -> dict[str, Any]:
    """Return class, scan, supports, the three distance scores and `undefined` of one recorded score.

    Args:
        score: the recorded score.
        prediction, truth: (Z,H,W) bool, the scored slices only.
        spacing_mm: voxel spacing (z,y,x); None if it is unknown.
        tolerance_mm: tolerance of the normalised surface Dice.

    Returns:
        The scores, or None for each of them and the reason under `undefined`.

    Raises:
        UserError: the counts of the masks differ from the record, so these are not its predictions.
    """
    where = {"class": score.class_name, "scan": score.scan, "supports": list(score.supports)}
    if score.undefined is not None:
        return _undefined(where, score.undefined)
    counts = tuple(int(number) for number in count(prediction, truth))
    recorded = (score.tp, score.fp, score.fn)
    if counts != recorded:
        raise UserError(
            f"the saved mask of {score.class_name} on scan {score.scan} counts {counts} tp, fp, fn, its "
            f"record {recorded}; run the cell again with --overwrite --save-predictions"
        )
    if spacing_mm is None:
        return _undefined(where, NO_SPACING)
    for name in ("recall", "precision"):
        _ratio, reason = measure(score, name)
        if reason is not None:
            return _undefined(where, reason)
    return where | surface_scores(prediction, truth, spacing_mm, tolerance_mm) | {"undefined": None}


def _undefined(where: Mapping[str, Any], reason: str) -> dict[str, Any]:
    return {**where, **dict.fromkeys(DISTANCES), "undefined": reason}
