"""PANet against scores worked by hand and its empty cases."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.panet import PANet
from fewshot.base.errors import UserError
from fewshot.base.types import Episode
from fewshot.learners.logits import call_logits


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scores_of(support: Tensor, masks: Tensor, query: Tensor) -> tuple[Tensor, bool]:
    scores, defined = call_logits(PANet(nn.Identity()), support, masks, query, {}, "query")
    return scores, bool(defined)


def test_scores_by_hand() -> None:
    # One row of four positions: two of the class, at (1,0) and (0,1), two of background, at (0,-3).
    support = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, -3.0, -3.0]]).reshape(1, 2, 1, 4)
    masks = torch.tensor([[[True, True, False, False]]])
    query = torch.tensor([[2.0, 0.0, 1.0, -1.0], [0.0, 5.0, 1.0, -1.0]]).reshape(1, 2, 1, 4)
    scores, defined = scores_of(support, masks, query)
    half = 20 * math.sqrt(0.5)  # the foreground prototype points to (1,1), the background's to (0,-1)
    assert defined
    assert torch.allclose(scores[0, 1, 0], torch.tensor([half, half, 20.0, -20.0]), atol=1e-4)
    assert torch.allclose(scores[0, 0, 0], torch.tensor([0.0, -20.0, -half, half]), atol=1e-4)


def test_prototypes_are_averaged_over_shots_not_over_pixels() -> None:
    # Shot 1 shows the class at three positions in (1,0), shot 2 at one in (0,1): the mean is (1,1)/2.
    support = torch.zeros(2, 2, 2, 2)
    support[0, 0], support[1, 1] = 1.0, 1.0
    masks = torch.tensor([[[True, True], [True, False]], [[True, False], [False, False]]])
    query = torch.ones(1, 2, 2, 2)
    scores, _ = scores_of(support, masks, query)
    assert torch.allclose(scores[:, 1], torch.full((1, 2, 2), 20.0), atol=1e-3)


def test_a_mask_is_brought_to_the_grid_of_the_features() -> None:
    support, query = noise(1, 3, 2, 2), noise(2, 3, 2, 2, seed=1)
    masks = torch.zeros(1, 4, 4, dtype=torch.bool)
    masks[0, :2, :2] = True  # the whole of position (0,0)
    scores, _ = scores_of(support, masks, query)
    wanted = 20 * F.cosine_similarity(query, support[:, :, :1, :1], dim=1)
    assert torch.allclose(scores[:, 1], wanted, atol=1e-4)


UNDEFINED = {
    "empty": torch.zeros(1, 8, 8, dtype=torch.bool),
    "full": torch.ones(1, 8, 8, dtype=torch.bool),
}


@pytest.mark.parametrize("name", UNDEFINED)
@pytest.mark.parametrize("side", [3, 8])
def test_an_empty_class_is_undefined_and_finite(name: str, side: int) -> None:
    scores, defined = scores_of(noise(1, 3, side, side), UNDEFINED[name], noise(2, 3, side, side, seed=1))
    assert not defined and scores.isfinite().all()
    assert torch.equal(scores[:, 1 if name == "empty" else 0], torch.zeros(2, side, side))


def test_an_organ_lost_in_resizing_is_undefined() -> None:
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    masks[0, 0, 0] = True  # a 2 x 2 grid reads rows and columns 1, 2, 5 and 6 alone
    assert not scores_of(noise(1, 3, 2, 2), masks, noise(1, 3, 2, 2, seed=1))[1]


def test_one_empty_shot_among_others_changes_nothing() -> None:
    support, query = noise(2, 3, 4, 4), noise(1, 3, 4, 4, seed=1)
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0, :2] = True
    scores, defined = scores_of(support, masks, query)
    alone, _ = scores_of(support[:1], masks[:1], query)
    assert defined and torch.allclose(scores[:, 1], alone[:, 1], atol=1e-4)


def test_an_empty_query_mask_is_allowed() -> None:
    learner = PANet(nn.Conv2d(1, 4, 3, padding=1))
    masks = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    masks[..., 4:12, 4:12] = True
    images = noise(1, 1, 1, 16, 16) + 2 * masks[:, :, None]
    result = learner.loss(Episode(images, masks, images, torch.zeros_like(masks)))
    assert result.parts["query"].isfinite() and float(result.parts["query"].detach()) > 0


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_a_scale_that_ranks_nothing_is_refused(scale: float) -> None:
    with pytest.raises(UserError, match="scale"):
        PANet.Options(scale=scale)
