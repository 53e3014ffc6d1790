"""Scores of regions by hand: overlapping masks, empty ones, and the published rule for empty masks."""

from __future__ import annotations

import numpy as np
import pytest

from results.metrics.regions import REGIONS, RegionScore, region_score


def block(voxels: int, shape: tuple[int, int, int] = (1, 20, 30)) -> np.ndarray:
    """Return a mask whose first voxels are True."""
    mask = np.zeros(shape, dtype=bool)
    mask.flat[:voxels] = True
    return mask


def test_two_rows_that_overlap_in_one() -> None:
    prediction, truth = (np.zeros((1, 8, 8), dtype=bool) for _ in range(2))
    prediction[0, 2:4], truth[0, 3:5] = True, True
    score = region_score(prediction, truth)
    assert score.dice == score.published_dice == pytest.approx(0.5)
    assert score.hd95 == score.published_hd95 == pytest.approx(1.0)  # voxels, whatever the spacing


@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [
        (0, 0, RegionScore(None, None, 1.0, 0.0)),
        (199, 0, RegionScore(0.0, None, 1.0, 0.0)),  # fewer than 200 predicted voxels count as right
        (200, 0, RegionScore(0.0, None, 0.0, 0.0)),
        (0, 200, RegionScore(0.0, None, 1.0, 0.0)),  # and up to 200 true ones
        (0, 201, RegionScore(0.0, None, 0.0, 0.0)),  # a total failure has the best distance
    ],
)
def test_empty_masks(predicted: int, true: int, expected: RegionScore) -> None:
    assert region_score(block(predicted), block(true)) == expected


def test_regions_are_the_published_ones() -> None:
    assert list(REGIONS) == ["normal myocardium", "scar", "edema", "scar or edema", "whole myocardium"]
    assert REGIONS["scar or edema"] == ("scar", "edema")
    assert REGIONS["whole myocardium"] == ("myocardium", "scar", "edema")
