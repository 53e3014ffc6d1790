"""ADNet: scores, probability, losses and the threshold's gradient against what is worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.adnet import ADNet
from fewshot.errors import UserError
from fewshot.learner import Branch, scored
from fewshot.types import Episode


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def learner(encoder: nn.Module | None = None, **options: float) -> ADNet:
    return ADNet(encoder or nn.Identity(), ADNet.Options(**options))


def scores_of(
    one: ADNet, support: Tensor, masks: Tensor, query: Tensor, branch: Branch = "query"
) -> tuple[Tensor, bool]:
    scores, defined = scored(one, support, masks, query, {}, branch)
    return scores, bool(defined)


# One row of four positions, two of the class at (1,0) and (0,1): the prototype points to (1,1).
SUPPORT = torch.tensor([[1.0, 0.0, 0.0, -9.0], [0.0, 1.0, -3.0, 0.0]]).reshape(1, 2, 1, 4)
MASKS = torch.tensor([[[True, True, False, False]]])
QUERY = torch.tensor([[2.0, 3.0, 1.0, -5.0], [2.0, 0.0, -1.0, -5.0]]).reshape(1, 2, 1, 4)
COSINES = torch.tensor([1.0, math.sqrt(0.5), 0.0, -1.0])  # the same, 45 degrees, orthogonal, opposite


@pytest.mark.parametrize(("alpha", "kappa", "threshold"), [(20.0, 0.5, -10.0), (4.0, 2.0, -1.5)])
def test_probability_by_hand(alpha: float, kappa: float, threshold: float) -> None:
    one = learner(alpha=alpha, kappa=kappa, initial_threshold=threshold)
    scores, defined = scores_of(one, SUPPORT, MASKS, QUERY)
    wanted = 1 - torch.sigmoid(kappa * (-alpha * COSINES - threshold))
    assert defined and torch.allclose(torch.softmax(scores, dim=1)[0, 1, 0], wanted, atol=1e-5)
    assert torch.allclose(torch.sigmoid(scores[:, 1] - scores[:, 0])[0, 0], wanted, atol=1e-5)


def test_published_constants_give_known_probabilities() -> None:
    scores, _ = scores_of(learner(), SUPPORT, MASKS, QUERY)
    found = torch.softmax(scores, dim=1)[0, 1, 0]
    wanted = [1 / (1 + math.exp(-5)), 1 / (1 + math.exp(5)), 1 / (1 + math.exp(15))]  # d = 5, -5, -15
    assert torch.allclose(found[[0, 2, 3]], torch.tensor(wanted), rtol=1e-3)


def test_background_features_of_the_support_do_not_matter() -> None:
    other = torch.where(MASKS[:, None], SUPPORT, 7 * noise(1, 2, 1, 4))
    found, wanted = (scores_of(learner(), one, MASKS, QUERY)[0] for one in (other, SUPPORT))
    assert torch.equal(found, wanted)


def test_a_full_mask_has_an_answer() -> None:
    support, query = noise(1, 3, 4, 4), noise(2, 3, 4, 4, seed=1)
    scores, defined = scores_of(learner(), support, torch.ones(1, 8, 8, dtype=torch.bool), query)
    wanted = 0.5 * (20 * F.cosine_similarity(query, support.mean((2, 3))[:, :, None, None], dim=1) - 10)
    assert defined and torch.allclose(scores[:, 1] - scores[:, 0], wanted, atol=1e-3)


def test_prototypes_are_averaged_over_shots_not_over_pixels() -> None:
    support = torch.zeros(2, 2, 2, 2)
    support[0, 0], support[1, 1] = 1.0, 1.0
    masks = torch.tensor([[[True, True], [True, False]], [[True, False], [False, False]]])
    scores, _ = scores_of(learner(), support, masks, torch.ones(1, 2, 2, 2))
    assert torch.allclose(scores[:, 1] - scores[:, 0], torch.full((1, 2, 2), 5.0), atol=1e-3)


@pytest.mark.parametrize("side", [3, 8])
def test_an_empty_support_is_undefined_and_finite(side: int) -> None:
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    scores, defined = scores_of(learner(), noise(1, 3, side, side), masks, noise(2, 3, side, side, seed=1))
    assert not defined and torch.equal(scores[:, 1], torch.full((2, side, side), -5.0))


def test_an_organ_lost_in_resizing_is_undefined() -> None:
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    masks[0, 0, 0] = True  # a 2 x 2 grid reads rows and columns 1, 2, 5 and 6 alone
    assert not scores_of(learner(), noise(1, 3, 2, 2), masks, noise(1, 3, 2, 2, seed=1))[1]


def test_an_empty_prediction_is_defined_and_teaches_nothing() -> None:
    one, support = learner(), noise(1, 3, 4, 4).requires_grad_()
    masks = torch.zeros(1, 4, 4, dtype=torch.bool)
    scores, defined = scores_of(one, support, masks, noise(1, 3, 4, 4, seed=1), "alignment")
    assert defined and torch.equal(scores[:, 1], torch.full((1, 4, 4), -5.0))
    scores.sum().backward()  # type: ignore[no-untyped-call]
    assert support.grad is not None and not support.grad.any()
    assert one.threshold.grad is not None and not one.threshold.grad.any()


def episode(size: int = 16) -> Episode:
    masks = torch.zeros(1, 1, size, size, dtype=torch.bool)
    masks[..., 4:12, 4:12] = True
    images = noise(1, 1, 1, size, size) + 2 * masks[:, :, None]
    return Episode(images, masks, images + 0.1 * noise(1, 1, 1, size, size, seed=1), masks)


class Fixed(nn.Module):
    """Features (1, x): positions that differ in direction, at the image's own size."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(images), images], dim=1)


def test_every_part_of_the_loss_by_hand() -> None:
    one, asked = learner(Fixed(), initial_threshold=-15.0), episode()
    support, query = asked.support_images[0, 0, 0], asked.query_images[0, 0, 0]
    mask = asked.support_masks[0, 0]

    def difference(known: Tensor, inside: Tensor, wanted: Tensor) -> Tensor:
        mean = torch.stack([torch.ones(()), known[inside].mean()])
        cosine = F.cosine_similarity(
            torch.stack([torch.ones_like(wanted), wanted]), mean[:, None, None], dim=0
        )
        return 0.5 * (20 * cosine - 15)

    d = difference(support, mask, query)
    weights = torch.where(mask, 1.0, 0.1)
    each = torch.where(mask, F.softplus(-d), F.softplus(d))
    predicted = d > 0
    assert predicted.any() and not predicted.all()
    back = difference(query, predicted, support)
    with torch.no_grad():
        result = one.loss(asked)
    assert list(result.parts) == ["query", "alignment", "threshold"] and bool(result.defined)
    assert float(result.parts["query"]) == pytest.approx(
        float((weights * each).sum() / weights.sum()), rel=1e-4
    )
    alignment = torch.where(mask, F.softplus(-back), F.softplus(back)).mean()
    assert float(result.parts["alignment"]) == pytest.approx(float(alignment), rel=1e-4)
    assert float(result.parts["threshold"]) == -15 / 20
    assert float(result.total) == pytest.approx(sum(float(part) for part in result.parts.values()), rel=1e-6)


def test_the_threshold_has_the_gradient_of_all_three_parts() -> None:
    one, asked = learner(Fixed(), initial_threshold=-15.0), episode()
    one.loss(asked).total.backward()  # type: ignore[no-untyped-call]
    values = []
    for step in (-0.01, 0.01):
        with torch.no_grad():
            values.append(float(learner(Fixed(), initial_threshold=-15.0 + step).loss(asked).total))
    assert one.threshold.grad is not None
    assert float(one.threshold.grad) == pytest.approx((values[1] - values[0]) / 0.02, rel=2e-2)


def test_an_undefined_episode_has_no_threshold_loss() -> None:
    asked = episode()
    empty = Episode(
        asked.support_images, torch.zeros_like(asked.support_masks), asked.query_images, asked.query_masks
    )
    with torch.no_grad():
        result = learner(nn.Conv2d(1, 4, 3, padding=1)).loss(empty)
    assert not result.defined and int(result.skipped) == 1
    assert float(result.total) == 0 and not any(float(part) for part in result.parts.values())


def test_what_it_takes_for_background_alone_is_still_learnt_from() -> None:
    one = learner(nn.Conv2d(1, 4, 3, padding=1), initial_threshold=-100.0)
    result = one.loss(episode())
    assert bool(result.defined) and result.parts["query"].item() > 1
    result.total.backward()  # type: ignore[no-untyped-call]
    assert one.threshold.grad is not None and float(one.threshold.grad) < 0  # descent raises it


def test_the_threshold_is_trained_at_the_full_rate_and_saved() -> None:
    one = learner(nn.Conv2d(1, 4, 3, padding=1))
    (group,) = one.parameter_groups()
    assert any(p is one.threshold for p in group["params"]) and group["rate"] == 1.0
    assert float(one.state_dict()["threshold"]) == -10


def test_the_recipe_is_the_published_one() -> None:
    recipe = ADNet.recipe()
    assert (recipe.steps, recipe.decay, recipe.decay_every) == (50_000, 0.98, 1000)
    assert (recipe.learning_rate, recipe.momentum, recipe.weight_decay) == (1e-3, 0.9, 5e-4)
    assert (recipe.encoder, recipe.weights, recipe.episode) == ("resnet101", "imagenet", "supervoxel")
    assert ADNet.class_weights == (0.1, 1.0)


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"kappa": -1.0}, {"alpha": math.nan}])
def test_options_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        ADNet.Options(**wrong)
