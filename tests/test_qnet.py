"""Q-Net against probabilities, losses and refinements worked by hand on maps of two scales."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.qnet import QNet, foreground_prototype, reconstruction_loss
from fewshot.encoder import TwoScaleEncoder
from fewshot.errors import UserError
from fewshot.learner import scored
from fewshot.types import Episode, Support


class TwoMaps(nn.Module):
    """A toy encoder: maps of stride 2 and 4 of a slice."""

    out_channels = 4

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(1, 4, 2, stride=2), nn.Conv2d(1, 4, 4, stride=4)
        for number, parameter in enumerate(self.parameters()):
            parameter.data = noise(*parameter.shape, seed=10 * seed + number)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.fine(images), self.coarse(images)


class NoMaps(nn.Module):
    """An encoder that is never asked: the features are given."""

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.out_channels = channels


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def learner_with(encoder: nn.Module | None = None, **options: Any) -> QNet:
    return QNet(encoder or NoMaps(), QNet.Options(**options)).eval()


def filled(vector: tuple[float, float], side: int) -> Tensor:
    """Return a map (1,2,side,side) of one vector everywhere."""
    return torch.tensor(vector).reshape(1, 2, 1, 1).expand(1, 2, side, side).clone()


def probability(cosine: float, threshold: float) -> float:
    """Return the paper's 1 - sigmoid(0.5 (S - T)) with S = -20 cos."""
    return 1 - 1 / (1 + math.exp(-0.5 * (-20 * cosine - threshold)))


def left_half(side: int, shots: int = 1) -> Tensor:
    masks = torch.zeros(shots, side, side, dtype=torch.bool)
    masks[:, :, : side // 2] = True
    return masks


def given() -> tuple[tuple[Tensor, Tensor], Tensor, tuple[Tensor, Tensor]]:
    """Return support, masks and query: prototypes (1,0) fine and (0,2) coarse, background the other axis."""
    mask = left_half(4)
    fine = torch.where(mask[:, None], filled((1.0, 0.0), 4), filled((0.0, 3.0), 4))
    small = left_half(2)
    coarse = torch.where(small[:, None], filled((0.0, 2.0), 2), filled((2.0, 0.0), 2))
    query = (filled((3.0, 4.0), 4), filled((4.0, 3.0), 2))
    query[0][0, :, 0, 0] = torch.tensor([-2.0, 0.0])
    return (fine, coarse), mask, query


def test_plain_probability_by_hand() -> None:
    learner = learner_with(refinement_steps=0)
    learner.threshold_weight.data = torch.tensor([1.0, -2.0])  # T = -10 + 4 - 6 = -12
    support, masks, query = given()
    scores, defined = scored(learner, support, masks, query, {}, "query")
    coarse = probability(3 / 5, -12)  # the same everywhere, so resizing changes nothing
    wanted = torch.full((4, 4), 0.9 * probability(3 / 5, -12) + 0.1 * coarse)
    wanted[0, 0] = 0.9 * probability(-1.0, -12) + 0.1 * coarse
    assert defined
    assert torch.allclose(scores.softmax(dim=1)[0, 1], wanted, atol=1e-6)
    assert torch.allclose(scores.exp().sum(dim=1), torch.ones(1, 4, 4), atol=1e-6)  # log-probabilities


@pytest.mark.parametrize("weight", [0.9, 0.7])
def test_the_fine_map_has_the_larger_weight(weight: float) -> None:
    learner = learner_with(refinement_steps=0, fine_weight=weight, alpha=200.0, initial_threshold=-100.0)
    support, masks, _ = given()
    for fine, coarse, wanted in (
        ((1.0, 0.0), (1.0, 0.0), weight),  # like the fine prototype alone
        ((0.0, 1.0), (0.0, 1.0), 1 - weight),  # like the coarse one alone
    ):
        scores, _ = scored(learner, support, masks, (filled(fine, 4), filled(coarse, 2)), {}, "query")
        assert torch.allclose(scores.softmax(dim=1)[:, 1], torch.full((1, 4, 4), wanted), atol=1e-6)


def test_the_threshold_is_the_querys_alone() -> None:
    learner = learner_with(refinement_steps=0)
    learner.threshold_weight.data = torch.tensor([2.0, 0.5])
    query = (noise(3, 2, 4, 4), torch.cat([filled((1.0, 2.0), 2), filled((0.0, 0.0), 2), noise(1, 2, 2, 2)]))
    found = learner.thresholds(query)
    assert torch.allclose(found[:2], torch.tensor([-10 + 2 + 1.0, -10.0]))
    assert torch.equal(found, learner.thresholds((torch.zeros(3, 2, 4, 4), query[1])))  # the coarse map's
    # Two supports of one direction: nothing of T may change, so neither may the answer.
    support, masks, _ = given()
    twice = (2 * support[0], 5 * support[1])
    answers = [scored(learner, one, masks, query, {}, "query")[0] for one in (support, twice)]
    assert torch.allclose(answers[0], answers[1], atol=1e-4)


def test_a_new_learner_starts_at_the_initial_threshold() -> None:
    assert learner_with(initial_threshold=-7.0).thresholds(
        (noise(2, 2, 4, 4), noise(2, 2, 2, 2))
    ).tolist() == [
        -7.0,
        -7.0,
    ]


def test_odds_of_any_size_stay_finite() -> None:
    learner = learner_with(refinement_steps=0, initial_threshold=-1e4)
    support, masks, query = given()
    scores, _ = scored(learner, support, masks, query, {}, "query")
    assert scores.isfinite().all() and bool((scores[:, 0] > scores[:, 1]).all())


def dense_loss(prototype: Tensor, query: Tensor, inside: Tensor) -> Tensor:
    """The reconstruction written out for one query: (C,), (C,n), (n,) -> 0-dim."""
    outside = 1 - inside
    background = (query * outside).sum(dim=1) / (outside.sum() + 1e-5)
    rebuilt = prototype[:, None] * inside + background[:, None] * outside
    return ((F.normalize(rebuilt, dim=0) - F.normalize(query, dim=0)) ** 2).sum(dim=0).mean()


def test_reconstruction_loss_by_hand() -> None:
    points = torch.tensor([[2.0, 0.0], [0.0, 3.0]])[None]  # positions (2,0) and (0,3)
    directions = F.normalize(points, dim=1)
    prototype = torch.tensor([[5.0, 0.0]])
    for inside, wanted in (
        ([1.0, 0.0], 0.0),  # both explained: the prototype's direction and the background's own
        ([1.0, 1.0], 1.0),  # the second is at a right angle, squared distance 2
        ([0.0, 1.0], 1.0),  # the first is the background, the second at a right angle to the prototype
        ([0.0, 0.0], 1 - 2 / 13**0.5 + 1 - 3 / 13**0.5),  # both against the average (1,1.5)
    ):
        loss = reconstruction_loss(prototype, points, directions, torch.tensor([inside]))
        assert loss.tolist() == pytest.approx([wanted], abs=1e-5)


def test_reconstruction_loss_is_the_one_written_out() -> None:
    points, prototypes, inside = noise(3, 5, 12), noise(3, 5, seed=1), noise(3, 12, seed=2).sigmoid()
    found = reconstruction_loss(prototypes, points, F.normalize(points, dim=1), inside)
    wanted = [dense_loss(p, q, i) for p, q, i in zip(prototypes, points, inside, strict=True)]
    assert torch.allclose(found, torch.stack(wanted), atol=1e-5)


def test_refinement_is_adam_on_each_query_by_itself() -> None:
    learner = learner_with(NoMaps(6), refinement_steps=5, refinement_rate=0.05)
    start, query, thresholds = noise(3, 6, seed=1), noise(3, 6, 4, 4), torch.tensor([-10.0, -4.0, 0.0])
    found = learner._refined(start, query, thresholds)
    for number in range(3):
        free = start[number].clone().requires_grad_()
        optimiser = torch.optim.Adam([free], lr=0.05)
        points = query[number].flatten(1)
        for _ in range(5):
            cosine = F.cosine_similarity(free.detach()[:, None], points, dim=0)
            loss = dense_loss(free, points, torch.sigmoid(0.5 * (thresholds[number] + 20 * cosine)))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        assert torch.allclose(found[number], free.detach(), atol=1e-4)
        assert not torch.allclose(found[number], start[number], atol=1e-2)


def test_refinement_lowers_the_reconstruction_loss() -> None:
    # Half of the query is the class, turned away from the support's prototype (1,0).
    query = torch.where(left_half(4)[:, None], filled((4.0, 3.0), 4), filled((-4.0, 3.0), 4))
    points, start = query.flatten(2), torch.tensor([[5.0, 0.0]])
    directions, thresholds = F.normalize(points, dim=1), torch.tensor([-10.0])

    def loss_of(prototypes: Tensor) -> float:
        cosines = F.cosine_similarity(prototypes[:, :, None], points, dim=1)
        inside = torch.sigmoid(0.5 * (thresholds[:, None] + 20 * cosines))
        return float(reconstruction_loss(prototypes, points, directions, inside))

    losses = [loss_of(start)]
    for steps in (1, 2, 4, 8):
        learner = learner_with(refinement_steps=steps, refinement_rate=0.1)
        losses.append(loss_of(learner._refined(start, query, thresholds)))
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.8 * losses[0]


def toy_question() -> tuple[Support, Tensor]:
    masks = torch.zeros(1, 16, 16, dtype=torch.bool)
    masks[0, 4:12, 4:12] = True
    return Support(noise(1, 1, 16, 16) + masks[:, None], masks), noise(3, 1, 16, 16, seed=1)


def test_refinement_changes_answers_and_leaves_no_gradient() -> None:
    learner = learner_with(TwoMaps(), refinement_rate=0.2)
    learner.threshold_weight.data = torch.tensor([0.5, -0.5, 0.3, 0.1])
    support, query = toy_question()
    refined = learner.segment(support, query)
    with torch.inference_mode():
        assert torch.allclose(refined, learner.segment(support, query), atol=1e-6)
    plain = learner_with(TwoMaps(), refinement_steps=0)
    plain.load_state_dict(learner.state_dict())
    assert not torch.allclose(refined, plain.segment(support, query), atol=1e-3)
    assert not refined.requires_grad and all(p.grad is None for p in learner.parameters())


def test_training_does_not_refine() -> None:
    support, masks, query = given()
    trained, plain = learner_with(refinement_rate=0.5), learner_with(refinement_steps=0)
    wanted, _ = scored(plain, support, masks, query, {}, "query")
    assert torch.allclose(scored(trained.train(), support, masks, query, {}, "query")[0], wanted)
    assert not torch.allclose(
        scored(trained.eval(), support, masks, query, {}, "query")[0], wanted, atol=1e-3
    )
    assert torch.allclose(
        scored(trained, support, masks, query, {}, "alignment")[0],
        scored(plain, support, masks, query, {}, "alignment")[0],
    )


@pytest.mark.parametrize("lost_on", ["both", "coarse"])
def test_an_empty_foreground_is_undefined_finite_and_not_refined(lost_on: str) -> None:
    masks = torch.zeros(1, 16, 16, dtype=torch.bool)
    if lost_on == "coarse":
        masks[0, 4, 4] = (
            True  # an 8 x 8 grid reads every pixel, a 4 x 4 grid rows and columns 1, 2, 5, 6, ...
        )
    support = (noise(1, 2, 8, 8), noise(1, 2, 4, 4, seed=1))
    query = (noise(2, 2, 8, 8, seed=2), noise(2, 2, 4, 4, seed=3))
    scores, defined = scored(learner_with(), support, masks, query, {}, "query")
    assert not defined and scores.isfinite().all()
    if lost_on == "both":  # no direction, so S = 0 at every position
        wanted = torch.full((2, 8, 8), probability(0.0, -10))
        assert torch.allclose(scores.softmax(dim=1)[:, 1], wanted, atol=1e-6)


def test_a_shot_without_the_class_is_left_out_of_the_prototype() -> None:
    features, masks = noise(3, 2, 4, 4), left_half(4, shots=3)
    masks[1] = False
    prototype, present = foreground_prototype(features, masks)
    wanted = features[[0, 2], :, :, :2].mean(dim=(2, 3)).mean(dim=0)
    assert present and torch.allclose(prototype[0], wanted, atol=1e-5)


def test_the_loss_by_its_parts() -> None:
    learner = learner_with(TwoMaps()).train()
    support, query = toy_question()
    masks = support.masks[None]
    result = learner.loss(Episode(support.images[None], masks, query[None, :1], masks))
    maps = learner.encode(torch.cat([support.images, query[:1]]))
    halves = [tuple(one[part] for one in maps) for part in (slice(0, 1), slice(1, 2))]

    def weighted(scores: Tensor) -> Tensor:
        """-(0.1 sum over background + sum over foreground) / sum of the weights."""
        grown = F.interpolate(scores, size=(16, 16), mode="bilinear", align_corners=False)
        chosen = torch.where(support.masks, *grown.log_softmax(dim=1).unbind(dim=1)[::-1])
        weights = torch.where(support.masks, 1.0, 0.1)
        return -(weights * chosen).sum() / weights.sum()

    scores, _ = scored(learner, halves[0], support.masks, halves[1], {}, "query")
    predicted = scores[:, 1] > scores[:, 0]
    back, _ = scored(learner, halves[1], predicted, halves[0], {}, "alignment")
    assert bool(predicted.any()) and bool(result.defined) and int(result.skipped) == 0
    assert list(result.parts) == ["query", "alignment", "threshold"]
    assert torch.allclose(result.parts["query"], weighted(scores), atol=1e-6)
    assert torch.allclose(result.parts["alignment"], weighted(back), atol=1e-6)
    assert result.parts["threshold"].item() == pytest.approx(-10 / 20)
    assert torch.allclose(result.total, torch.stack(list(result.parts.values())).sum())
    result.parts["threshold"].backward()  # type: ignore[no-untyped-call]
    assert float(learner.threshold_bias.grad) == pytest.approx(1 / 20)  # type: ignore[arg-type]
    pooled = halves[1][1].mean(dim=(0, 2, 3)).detach()
    assert torch.allclose(learner.threshold_weight.grad, pooled / 20, atol=1e-6)  # type: ignore[arg-type]


def test_nothing_predicted_leaves_the_other_losses() -> None:
    learner = learner_with(TwoMaps(), initial_threshold=-30.0).train()  # no cosine reaches 1.5
    support, query = toy_question()
    masks = support.masks[None]
    result = learner.loss(Episode(support.images[None], masks, query[None, :1], masks))
    assert bool(result.defined) and result.parts["alignment"].item() == 0.0
    result.total.backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in learner.parameters()]
    assert all(one is not None and bool(one.isfinite().all()) for one in gradients)
    assert bool((learner.encoder.fine.weight.grad != 0).any())  # type: ignore[union-attr]


def test_an_undefined_support_is_skipped() -> None:
    learner = learner_with(TwoMaps()).train()
    support, query = toy_question()
    masks = torch.zeros_like(support.masks)[None]
    result = learner.loss(Episode(support.images[None], masks, query[None, :1], masks))
    assert not bool(result.defined) and int(result.skipped) == 1


def test_it_brings_its_encoder_and_recipe() -> None:
    assert isinstance(QNet.new_encoder("resnet18", 0), TwoScaleEncoder)
    recipe = QNet.recipe()
    assert (recipe.learning_rate, recipe.momentum, recipe.weight_decay) == (1e-3, 0.9, 5e-4)
    assert (recipe.decay, recipe.decay_every) == (0.98, 1000)
    assert (recipe.encoder, recipe.weights) == ("resnet101", "coco")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alpha", 0.0), ("kappa", -1.0), ("refinement_rate", 0.0), ("fine_weight", 1.0), ("fine_weight", 0.0),
        ("refinement_steps", -1),
    ],
)  # fmt: skip
def test_senseless_options_are_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"option {name} is {value}; give"):
        QNet.Options(**{name: value})  # type: ignore[arg-type]


def test_an_encoder_that_does_not_say_its_channels_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"Identity has no out_channels.*use fewshot\.encoder\.TwoScaleEncoder"
    ):
        QNet(nn.Identity())
