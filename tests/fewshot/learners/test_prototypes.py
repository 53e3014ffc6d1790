"""Prototypes: hand-worked numbers."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from fewshot.learners.prototypes import (
    masked_average,
    pooled_cells,
    resize_masks,
    set_scores,
    similarities,
    spread_masks,
)


def test_masks_are_resized_between_pixel_centres() -> None:
    """At half size every value is the mean of a 2 x 2 block."""
    mask = torch.tensor([[[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]], dtype=torch.bool)
    assert resize_masks(mask, (2, 2)).tolist() == [[[0.75, 0.0], [0.0, 1.0]]]


def test_masks_of_the_size_stay_as_they_are() -> None:
    mask = torch.tensor([[[True, False], [False, True]]])
    assert resize_masks(mask, (2, 2)).tolist() == [[[1.0, 0.0], [0.0, 1.0]]]


def test_masked_average_by_hand() -> None:
    features = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[10.0, 0.0], [0.0, 0.0]]]])  # (1,2,2,2)
    mask = torch.tensor([[[1.0, 0.0], [0.5, 0.5]]])
    wanted = [(1 + 1.5 + 2) / (2 + 1e-5), 10 / (2 + 1e-5)]
    assert masked_average(features, mask)[0].tolist() == pytest.approx(wanted, rel=1e-6)


def test_masked_average_of_nothing_is_zero() -> None:
    assert masked_average(torch.ones(2, 3, 4, 4), torch.zeros(2, 4, 4)).tolist() == [[0.0] * 3] * 2


def test_cells_keep_the_order_of_shots_rows_and_columns() -> None:
    maps = torch.arange(32.0).reshape(2, 1, 4, 4)
    assert pooled_cells(maps, (2, 2))[:, 0].tolist() == [2.5, 4.5, 10.5, 12.5, 18.5, 20.5, 26.5, 28.5]


def test_similarity_is_scaled_cosine() -> None:
    prototypes = torch.tensor([[3.0, 4.0], [0.0, 0.0], [-2.0, 0.0]])
    query = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
    assert similarities(prototypes, query, 20.0).flatten().tolist() == pytest.approx([12.0, 0.0, -20.0])


def test_norms_are_clamped() -> None:
    """A vector shorter than 1e-4 is divided by 1e-4, so its cosine shrinks with it."""
    prototypes = torch.tensor([[5e-5, 0.0]])
    query = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
    assert similarities(prototypes, query, 20.0).item() == pytest.approx(10.0, rel=1e-5)


def test_score_of_a_set_by_hand() -> None:
    distances = torch.tensor([2.0, 1.0, 19.0]).reshape(1, 3, 1, 1)
    members = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    mixed = (2 * math.e**2 + math.e) / (math.e**2 + math.e)
    assert set_scores(distances, members, 20.0).flatten().tolist() == pytest.approx([mixed, 19.0], rel=1e-6)


def test_score_is_the_masked_softmax_over_the_whole_range() -> None:
    generator = torch.Generator().manual_seed(3)
    distances = torch.rand(2, 50, 3, 3, generator=generator) * 40 - 20
    distances[:, :2] = torch.tensor([-20.0, 20.0])[None, :, None, None]
    members = (torch.rand(2, 50, generator=generator) > 0.5).float()
    members[1] = 0
    members[1, 0] = 1  # the smallest value alone
    for row, found in zip(members, set_scores(distances, members, 20.0).unbind(1), strict=True):
        chosen = distances[:, row > 0].double()
        wanted = (F.softmax(chosen, dim=1) * chosen).sum(1)
        assert torch.allclose(found.double(), wanted, atol=2e-5)


@pytest.mark.parametrize(("side", "grid"), [((24, 40), (3, 5)), ((17, 16), (5, 4)), ((8, 8), (8, 8))])
def test_spread_masks_average_as_upsampled_features_do(side: tuple[int, int], grid: tuple[int, int]) -> None:
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(2, 6, *grid, generator=draw)
    masks = torch.rand(2, *side, generator=draw) > 0.7
    grown = F.interpolate(features, size=side, mode="bilinear", align_corners=False)
    spread = spread_masks(masks, grid)
    assert spread.shape == (2, *grid)
    torch.testing.assert_close(spread.sum((1, 2)), masks.float().sum((1, 2)))
    torch.testing.assert_close(masked_average(features, spread), masked_average(grown, masks.float()))


def test_a_mask_that_downsampling_misses_is_not_lost() -> None:
    masks = torch.zeros(1, 16, 16, dtype=torch.bool)
    masks[0, 0, 0] = True  # a 2 x 2 grid reads pixels 3 and 4 of every 8
    assert not resize_masks(masks, (2, 2)).any()
    torch.testing.assert_close(spread_masks(masks, (2, 2)), torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]))
