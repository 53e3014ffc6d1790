"""k-means prototypes against scores worked by hand, PANet as the case k = 1, and the empty cases."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from baselines.kmeans import KMeansPrototypes
from baselines.panet import PANet
from fewshot.base.errors import UserError
from fewshot.learners.logits import call_logits


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def learner(encoder: nn.Module | None = None, **options: Any) -> KMeansPrototypes:
    return KMeansPrototypes(encoder or nn.Identity(), KMeansPrototypes.Options(**options))


def scores_of(one: nn.Module, support: Tensor, masks: Tensor, query: Tensor) -> tuple[Tensor, bool]:
    scores, defined = call_logits(one, support, masks, query, {}, "query")  # type: ignore[arg-type]
    return scores, bool(defined)


# Two rows of four positions. The class: (1,0) twice and (0,1) twice. Background: (-1,0) four times.
SUPPORT = torch.tensor(
    [[[1.0, 1.0, -1.0, -1.0], [0.0, 0.0, -1.0, -1.0]], [[0.0, 0.0, 0.0, 0.0], [3.0, 3.0, 0.0, 0.0]]]
)[None]
MASKS = torch.tensor([[[True, True, False, False]] * 2])
QUERY = torch.tensor([[1.0, 0.0, 1.0, -1.0], [0.0, 1.0, 1.0, -1.0]]).reshape(1, 2, 1, 4)


def test_two_prototypes_by_hand() -> None:
    scores, defined = scores_of(learner(k_foreground=2, k_background=1), SUPPORT, MASKS, QUERY)
    half = 20 * math.sqrt(0.5)
    assert defined
    assert torch.allclose(scores[0, 1, 0], torch.tensor([20.0, 20.0, half, -half]), atol=1e-4)
    assert torch.allclose(scores[0, 0, 0], torch.tensor([-20.0, 0.0, -half, half]), atol=1e-4)


def test_one_prototype_by_hand() -> None:
    scores, _ = scores_of(learner(k_foreground=1, k_background=1), SUPPORT, MASKS, QUERY)
    wanted = torch.tensor([1.0, 3.0, 4 / math.sqrt(2), -4 / math.sqrt(2)]) * 20 / math.sqrt(10)
    assert torch.allclose(scores[0, 1, 0], wanted, atol=1e-3)  # the mean of features is (1,3)/2


def test_with_one_prototype_a_class_it_is_panet() -> None:
    support, query = noise(2, 5, 8, 8), noise(3, 5, 8, 8, seed=1)
    masks = torch.zeros(2, 16, 16, dtype=torch.bool)
    masks[:, 4:12, 2:10] = True  # whole positions
    found, _ = scores_of(learner(k_foreground=1, k_background=1), support, masks, query)
    wanted, _ = scores_of(PANet(nn.Identity()), support, masks, query)
    assert torch.allclose(found, wanted, atol=1e-3)


def test_fewer_positions_than_k_are_prototypes_each() -> None:
    support, query = noise(1, 3, 2, 2), noise(1, 3, 2, 2, seed=1)
    masks = torch.tensor([[[True, True], [False, False]]])
    scores, _ = scores_of(learner(k_foreground=5, k_background=5), support, masks, query)
    cosines = torch.cosine_similarity(query.flatten(2)[:, :, None], support.flatten(2)[:, :, :, None], dim=1)
    assert torch.allclose(scores[0, 1].flatten(), 20 * cosines[0, :2].amax(0), atol=1e-4)
    assert torch.allclose(scores[0, 0].flatten(), 20 * cosines[0, 2:].amax(0), atol=1e-4)


def test_an_organ_smaller_than_a_position_is_its_masked_average() -> None:
    masks = torch.zeros(1, 16, 16, dtype=torch.bool)
    masks[0, 3:5, 3] = True  # touches two positions of 4 x 4 and fills half of neither
    support, query = noise(1, 5, 4, 4), noise(2, 5, 4, 4, seed=1)
    scores, defined = scores_of(learner(), support, masks, query)
    masks[0, 3:5, 2:4] = True
    assert not defined and torch.equal(scores[:, 1], torch.zeros(2, 4, 4))  # lost in resizing
    masks[:] = False
    masks[0, 1:2, 1:3] = True  # half of the four pixels that position (0,0) reads
    scores, defined = scores_of(learner(), support, masks, query)
    wanted = 20 * torch.cosine_similarity(query, support[:, :, :1, :1], dim=1)
    assert defined and torch.allclose(scores[:, 1], wanted, atol=1e-3)


@pytest.mark.parametrize("full", [False, True])
def test_an_empty_class_is_undefined_and_finite(full: bool) -> None:
    masks = torch.full((1, 8, 8), full)
    scores, defined = scores_of(learner(), noise(1, 3, 8, 8), masks, noise(2, 3, 8, 8, seed=1))
    assert not defined and scores.isfinite().all()
    assert torch.equal(scores[:, 0 if full else 1], torch.zeros(2, 8, 8))


def test_the_gradient_is_that_of_means_of_fixed_clusters() -> None:
    support = (SUPPORT + 0.1 * noise(1, 2, 2, 4)).requires_grad_()  # the clusters stay the rows
    query = noise(1, 2, 3, 3, seed=1).requires_grad_()
    scores, _ = scores_of(learner(k_foreground=2, k_background=1), support, MASKS, query)
    rows = support[0, :, :, :2].mean(dim=2).T, support[0, :, :, 2:].mean(dim=(1, 2))[None]
    by_hand = torch.stack(
        [
            20 * torch.cosine_similarity(query, one[:, :, None, None], dim=1).amax(dim=0)
            for one in (rows[1], rows[0])
        ]
    )[None]
    assert torch.allclose(scores, by_hand, atol=1e-3)
    weights = noise(1, 2, 3, 3, seed=2)
    found = torch.autograd.grad((scores * weights).sum(), (support, query))
    wanted = torch.autograd.grad((by_hand * weights).sum(), (support, query))
    assert all(torch.allclose(one, other, atol=1e-3) for one, other in zip(found, wanted, strict=True))
    assert bool((found[0] != 0).any(dim=1).all())  # every position of every cluster takes part


def test_features_that_are_not_finite_are_named() -> None:
    support = noise(1, 3, 4, 4)
    support[0, 0, 0, 0] = torch.nan
    masks = torch.zeros(1, 4, 4, dtype=torch.bool)
    masks[0, :2] = True
    with pytest.raises(UserError, match="not finite"):
        scores_of(learner(), support, masks, noise(1, 3, 4, 4))


@pytest.mark.parametrize(
    "wrong", [{"k_foreground": 0}, {"k_background": -1}, {"iterations": 0}, {"scale": 0.0}]
)
def test_options_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        KMeansPrototypes.Options(**wrong)
