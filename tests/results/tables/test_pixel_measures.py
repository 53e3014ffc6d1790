"""Measures over pixels against counts by hand, with undefined ones."""

from __future__ import annotations

import math

from results.records.record_parts import Score
from results.tables.pixel_measures import pixel_measures


def score(scan: str, tp: int, fp: int, fn: int) -> Score:
    return Score("lesion", scan, ("s",), 1, tp, fp, fn, 2 * tp / (2 * tp + fp + fn), None)


def test_counts_are_pooled_first() -> None:
    made = pixel_measures([score("a", 10, 5, 5), score("b", 0, 0, 20)], 100)
    assert made.pooled == (20 / 50, 10 / 35, 160 / 165, 170 / 200)
    assert made.per_picture == (
        (20 / 30 + 0) / 2,
        (10 / 15 + 0) / 2,
        (80 / 85 + 1) / 2,
        (90 / 100 + 80 / 100) / 2,
    )


def test_a_picture_without_the_class_has_no_sensitivity() -> None:
    made = pixel_measures([score("a", 0, 5, 0)], 100)
    assert math.isnan(made.per_picture[1]) and made.undefined == (0, 1, 0, 0)
    assert made.per_picture[0] == 0
