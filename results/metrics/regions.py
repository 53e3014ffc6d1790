"""Regions of myocardial pathology: Dice and HD95 by the published rule for empty masks and by the honest one.

The regions are those that the release of I-MMSeg reports (rule IMMSEG-11 of docs/immseg.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from results.metrics.counts import count, dice
from results.metrics.distances import TOLERANCE_MM, surface_scores

CLASSES = ("myocardium", "scar", "edema")  # normal myocardium, and its two pathologies
# region -> the classes that it joins
REGIONS: dict[str, tuple[str, ...]] = {
    "normal myocardium": ("myocardium",),
    "scar": ("scar",),
    "edema": ("edema",),
    "scar or edema": ("scar", "edema"),
    "whole myocardium": CLASSES,
}
SMALL = 200  # voxels; the published rule counts smaller masks without a partner as right
VOXELS = (1.0, 1.0, 1.0)  # the release leaves out the spacing

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class RegionScore:
    """Dice in [0, 1] and HD95 in voxels of one region of one scan; None where undefined.

    `published_dice`, `published_hd95`: under the release's rule, which leaves nothing undefined.
    """

    dice: float | None
    hd95: float | None
    published_dice: float
    published_hd95: float


def region_score(prediction: Bools, truth: Bools) -> RegionScore:
    """Return the scores of a predicted region.

    Honest: the Dice of two empty masks is undefined, and so is HD95 if one is empty. Published: if one is
    empty, fewer than 200 predicted and at most 200 true voxels count as Dice 1; any other pair with an empty
    mask has Dice 0. HD95 is 0 in both cases, also where the prediction failed.

    Args:
        prediction, truth: (Z,H,W) bool.
    """
    tp, fp, fn = (int(value) for value in count(prediction, truth))
    overlap = dice(tp, fp, fn)
    predicted, true = tp + fp, tp + fn
    if predicted and true:
        assert overlap is not None
        distance = surface_scores(prediction, truth, VOXELS, TOLERANCE_MM)["hd95_mm"]
        return RegionScore(overlap, distance, overlap, distance)
    right = predicted < SMALL and true <= SMALL
    return RegionScore(overlap, None, 1.0 if right else 0.0, 0.0)
