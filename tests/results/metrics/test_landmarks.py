"""One-to-one matching of points in mm and the shares made of its counts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from results.metrics.landmarks import landmark_measures, match_points

TRUE = np.array([[0.0, 0.0, 0.0], [0.0, 20.0, 0.0], [0.0, 40.0, 0.0]])


def test_a_second_prediction_of_a_point_is_no_pair() -> None:
    predicted = np.array([[0.0, 1.0, 0.0], [0.0, 2.0, 0.0], [0.0, 3.0, 0.0]])
    assert match_points(TRUE, predicted) == [(0, 0, 1.0)]


def test_a_pair_is_nearer_than_the_gate_and_most_pairs_come_first() -> None:
    # the nearest point of the second prediction is the first true one, which would leave a pair out
    predicted = np.array([[0.0, -9.0, 0.0], [0.0, 10.0, 0.0]])
    pairs = match_points(TRUE, predicted)
    assert [(true, found) for true, found, _distance in pairs] == [(0, 0), (1, 1)]
    assert match_points(TRUE, predicted + 100.0) == []
    assert match_points(TRUE, np.zeros((0, 3))) == []


def test_measures_are_shares_of_pooled_counts() -> None:
    made = landmark_measures(true=4, predicted=5, distances_mm=[1.0, 2.0, 6.0])
    assert (made.median_mm, made.mean_mm, made.within) == (2.0, 3.0, 0.5)
    assert made.false_positives == pytest.approx(2 / 5) and made.false_negatives == pytest.approx(1 / 4)


def test_what_cannot_be_divided_is_undefined() -> None:
    made = landmark_measures(true=0, predicted=0, distances_mm=[])
    values = (made.median_mm, made.mean_mm, made.within, made.false_positives, made.false_negatives)
    assert all(math.isnan(value) for value in values)
    assert landmark_measures(true=2, predicted=0, distances_mm=[]).false_negatives == 1.0
