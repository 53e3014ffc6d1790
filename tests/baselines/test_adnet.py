"""ADNet: scores, probability, losses and the threshold's gradient against what is worked by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.adnet import ADNet
from fewshot.base.errors import UserError
from fewshot.base.types import Episode
from fewshot.encoders.checkpoints import load_released
from fewshot.encoders.encoder import build_encoder
from fewshot.learners.anomaly import pooled_prototype
from fewshot.learners.logits import Branch, call_logits


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def learner(encoder: nn.Module | None = None, **options: float) -> ADNet:
    return ADNet(encoder or nn.Identity(), ADNet.Options(**options))


def scores_of(
    one: ADNet, support: Tensor, masks: Tensor, query: Tensor, branch: Branch = "query"
) -> tuple[Tensor, bool]:
    scores, defined = call_logits(one, support, masks, query, {}, branch)
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
    assert defined and torch.allclose(scores.exp()[0, 1, 0], wanted, atol=1e-5)
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


@pytest.mark.parametrize("align_corners", [True, False])
def test_features_go_to_the_mask_and_probabilities_to_the_image(align_corners: bool) -> None:
    support, query = noise(2, 3, 4, 6), noise(2, 3, 4, 6, seed=1)
    masks = noise(2, 32, 48, seed=2) > 0.5
    scores, defined = scores_of(learner(align_corners=align_corners), support, masks, query)
    grown = F.interpolate(support, size=(32, 48), mode="bilinear", align_corners=False)
    prototypes = torch.stack(
        [(f * m).sum((1, 2)) / (m.sum() + 1e-5) for f, m in zip(grown, masks.float(), strict=True)]
    )
    cosine = F.cosine_similarity(query, prototypes.mean(0)[None, :, None, None], dim=1)
    plain = torch.sigmoid(0.5 * (20 * cosine - 10))[:, None]
    wanted = F.interpolate(plain, size=(32, 48), mode="bilinear", align_corners=align_corners)
    assert defined and torch.allclose(scores.exp()[:, 1:], wanted, atol=1e-5)
    corner = scores.exp()[:, 1, -1, -1]
    assert torch.allclose(corner, plain[:, 0, -1, -1], atol=1e-5)  # either way at the very corner


def test_prototypes_are_averaged_over_shots_not_over_pixels() -> None:
    support = torch.zeros(2, 2, 2, 2)
    support[0, 0], support[1, 1] = 1.0, 1.0
    masks = torch.tensor([[[True, True], [True, False]], [[True, False], [False, False]]])
    scores, _ = scores_of(learner(), support, masks, torch.ones(1, 2, 2, 2))
    assert torch.allclose(scores[:, 1] - scores[:, 0], torch.full((1, 2, 2), 5.0), atol=1e-3)


@pytest.mark.parametrize("side", [3, 8])
def test_an_empty_support_has_the_zero_prototype(side: int) -> None:
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    scores, defined = scores_of(learner(), noise(1, 3, side, side), masks, noise(2, 3, side, side, seed=1))
    wanted = torch.full((2, 8, 8), 1 / (1 + math.exp(5)))  # S = 0 everywhere
    assert defined and torch.allclose(scores[:, 1].exp(), wanted, atol=1e-6)


def test_an_organ_that_downsampling_misses_is_not_lost() -> None:
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    masks[0, 0, 0] = True  # a 2 x 2 grid reads rows and columns 1, 2, 5 and 6 alone
    support = noise(1, 3, 2, 2)
    scores, _ = scores_of(learner(), support, masks, support)
    assert float(scores[0, 1, 0, 0].exp()) == pytest.approx(1 / (1 + math.exp(-5)), rel=1e-4)  # itself


def test_probabilities_are_clamped_and_then_without_gradient() -> None:
    one = learner(initial_threshold=-60.0)
    scores, _ = scores_of(one, SUPPORT, MASKS, QUERY)
    least = torch.finfo(torch.float32).eps
    assert torch.allclose(scores[:, 1], torch.full((1, 1, 4), math.log(least)))
    scores.sum().backward()  # type: ignore[no-untyped-call]
    assert one.t.grad is not None and float(one.t.grad) == 0


def episode(size: int = 16) -> Episode:
    masks = torch.zeros(1, 1, size, size, dtype=torch.bool)
    masks[..., 4:12, 4:12] = True
    images = noise(1, 1, 1, size, size) + 2 * masks[:, :, None]
    return Episode(images, masks, images + 0.1 * noise(1, 1, 1, size, size, seed=1), masks)


class Fixed(nn.Module):
    """Features (1, x): positions that differ in direction, at the image's own size."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(images), images], dim=1)


class Halved(nn.Module):
    """Features (1, mean of 2 x 2 pixels), at half the image's size."""

    def forward(self, images: Tensor) -> Tensor:
        small = F.avg_pool2d(images, 2)
        return torch.cat([torch.ones_like(small), small], dim=1)


def test_every_part_of_the_loss_by_hand() -> None:
    """On a grid of half the size: the alignment mask is cut before, the probability resized after."""
    one, asked = learner(Halved(), initial_threshold=-17.0), episode()
    maps = Halved()(torch.cat([asked.support_images[0], asked.query_images[0]]))
    mask = asked.support_masks[0, 0].float()

    def resize(values: Tensor, align_corners: bool) -> Tensor:
        return F.interpolate(values[None], size=(16, 16), mode="bilinear", align_corners=align_corners)[0]

    def probability(prototype: Tensor, wanted: Tensor) -> Tensor:
        cosine = F.cosine_similarity(wanted, prototype[:, None, None], dim=0)
        return torch.sigmoid(0.5 * (20 * cosine - 17))

    def cost(found: Tensor, weights: Tensor) -> float:
        grown = resize(found[None], True)[0]
        each = -torch.where(mask > 0, grown, 1 - grown).log()
        return float((weights * each).sum() / weights.sum())

    prototype = (resize(maps[0], False) * mask).sum((1, 2)) / (mask.sum() + 1e-5)
    found = probability(prototype, maps[1])
    predicted = (found > 0.5).float()
    assert predicted.any() and not predicted.all()
    back = probability((maps[1] * predicted).sum((1, 2)) / (predicted.sum() + 1e-5), maps[0])
    with torch.no_grad():
        result = one.loss(asked)
    assert list(result.parts) == ["query", "alignment", "threshold"] and bool(result.defined)
    wanted = cost(found, 0.1 + 0.9 * mask)
    assert float(result.parts["query"]) == pytest.approx(wanted, rel=1e-4)
    assert float(result.parts["alignment"]) == pytest.approx(cost(back, torch.ones_like(mask)), rel=1e-4)
    assert float(result.parts["threshold"]) == pytest.approx(-17 / 20)
    assert float(result.total) == pytest.approx(sum(float(part) for part in result.parts.values()), rel=1e-6)


def test_several_queries_are_pooled_in_the_alignment_branch() -> None:
    features, predicted = noise(3, 2, 4, 4), noise(3, 4, 4, seed=1) > 0.3
    pooled = features.permute(1, 0, 2, 3)[:, predicted].mean(dim=1)
    assert torch.allclose(pooled_prototype(features, predicted)[0], pooled, atol=1e-4)


def test_the_threshold_has_the_gradient_of_all_three_parts() -> None:
    one, asked = learner(Fixed(), initial_threshold=-15.0), episode()
    one.loss(asked).total.backward()  # type: ignore[no-untyped-call]
    values = []
    for step in (-0.01, 0.01):
        with torch.no_grad():
            values.append(float(learner(Fixed(), initial_threshold=-15.0 + step).loss(asked).total))
    assert one.t.grad is not None
    assert float(one.t.grad) == pytest.approx((values[1] - values[0]) / 0.02, rel=2e-2)


def without_support() -> Episode:
    asked = episode()
    empty = torch.zeros_like(asked.support_masks)
    return Episode(asked.support_images, empty, asked.query_images, asked.query_masks)


def test_an_empty_support_is_learned_from_as_released() -> None:
    one = learner(nn.Conv2d(1, 4, 3, padding=1))
    result = one.loss(without_support())
    assert bool(result.defined) and int(result.skipped) == 0
    assert float(result.parts["alignment"]) == 0 and float(result.parts["query"]) > 1
    result.total.backward()  # type: ignore[no-untyped-call]
    assert one.t.grad is not None and float(one.t.grad) < 0  # descent raises it


def test_an_empty_support_can_be_skipped() -> None:
    one = learner(nn.Conv2d(1, 4, 3, padding=1), skip_empty_support=True)
    with torch.no_grad():
        result = one.loss(without_support())
        assert bool(one.loss(episode()).defined)
    assert not result.defined and int(result.skipped) == 1
    assert float(result.total) == 0 and not any(float(part) for part in result.parts.values())


def test_a_clamped_episode_leaves_t_its_own_gradient() -> None:
    one = learner(nn.Conv2d(1, 4, 3, padding=1), initial_threshold=-60.0)
    result = one.loss(episode())
    result.total.backward()  # type: ignore[no-untyped-call]
    assert float(result.parts["alignment"]) == 0 and bool(result.defined)
    assert one.t.grad is not None and float(one.t.grad) == pytest.approx(1 / 20, rel=1e-6)


def test_what_it_takes_for_background_alone_is_still_learnt_from() -> None:
    one = learner(nn.Conv2d(1, 4, 3, padding=1), initial_threshold=-26.0)
    result = one.loss(episode())
    assert bool(result.defined) and result.parts["query"].item() > 1
    assert float(result.parts["alignment"]) == 0
    result.total.backward()  # type: ignore[no-untyped-call]
    assert one.t.grad is not None and float(one.t.grad) < 0  # descent raises it


def test_the_threshold_is_trained_at_the_full_rate_and_saved() -> None:
    one = learner(nn.Conv2d(1, 4, 3, padding=1))
    (group,) = one.parameter_groups()
    assert any(p is one.t for p in group["params"]) and group["rate"] == 1.0
    assert one.state_dict()["t"].tolist() == [-10.0]


def test_the_recipe_is_the_published_one() -> None:
    recipe = ADNet.recipe()
    assert (recipe.steps, recipe.decay, recipe.decay_every) == (50_000, 0.95, 1000)
    assert (recipe.learning_rate, recipe.momentum, recipe.weight_decay) == (1e-3, 0.9, 5e-4)
    assert (recipe.encoder, recipe.weights, recipe.episode) == ("resnet101", "imagenet", "supervoxel")
    assert ADNet.class_weights == (0.1, 1.0) and ADNet.version == 2


def test_a_released_checkpoint_loads(tmp_path: Path) -> None:
    one, other = ADNet(build_encoder("resnet18", 0)), ADNet(build_encoder("resnet18", 1))
    state = {**one.state_dict(), "t": torch.tensor([-12.5]), "encoder.asppconv.0.weight": torch.ones(2)}
    torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "50000.pth")
    load_released(tmp_path / "50000.pth", other)
    assert other.t.tolist() == [-12.5]
    assert all(torch.equal(state[name], value) for name, value in other.state_dict().items())


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"kappa": -1.0}, {"alpha": math.nan}])
def test_options_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        ADNet.Options(**wrong)
