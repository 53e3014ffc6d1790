"""Counts and ratios against hand-worked masks, every empty case included."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from results.metrics.counts import count, dice, precision, recall

PRED = [[1, 1, 0], [0, 1, 0]]
TRUTH = [[1, 0, 0], [1, 1, 1]]


def test_counts_of_a_hand_worked_mask_in_torch_and_numpy() -> None:
    wanted = (2, 1, 2)  # both at (0,0) and (1,1); only pred at (0,1); only truth at (1,0) and (1,2)
    assert tuple(map(int, count(torch.tensor(PRED).bool(), torch.tensor(TRUTH).bool()))) == wanted
    assert tuple(map(int, count(np.array(PRED, bool), np.array(TRUTH, bool)))) == wanted


def test_counts_stay_tensors() -> None:
    found = count(torch.tensor(PRED).bool(), torch.tensor(TRUTH).bool())
    assert all(isinstance(one, torch.Tensor) and one.ndim == 0 for one in found)


def test_ratios_of_the_hand_worked_mask() -> None:
    assert dice(2, 1, 2) == 4 / 7
    assert precision(2, 1) == 2 / 3
    assert recall(2, 2) == 1 / 2


def test_empty_masks() -> None:
    assert dice(0, 0, 0) is None
    assert dice(0, 5, 0) == dice(0, 0, 5) == 0.0
    assert precision(0, 0) is None and precision(0, 3) == 0.0
    assert recall(0, 0) is None and recall(0, 3) == 0.0
    assert dice(3, 0, 0) == 1.0


def test_shapes_and_dtypes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"prediction is \(2,\), truth \(3,\)"):
        count(np.ones(2, bool), np.ones(3, bool))
    with pytest.raises(ValueError, match="truth is uint8, expected bool"):
        count(np.ones(2, bool), np.ones(2, np.uint8))
