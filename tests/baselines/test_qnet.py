"""Q-Net against probabilities, losses and refinements worked by hand on maps of two scales."""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.qnet import QNet
from baselines.qnet.refinement import rebuilding_loss
from fewshot.base.errors import UserError
from fewshot.base.types import Episode, Support
from fewshot.encoders.checkpoints import load_released
from fewshot.encoders.encoder import TwoScaleEncoder
from fewshot.learners.logits import call_logits

Maps = tuple[Tensor, Tensor, Tensor]


class TwoMaps(nn.Module):
    """A toy encoder: maps of stride 2 and 4 of a slice, and a threshold."""

    def __init__(self, bias: float = -12.0) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(1, 4, 2, stride=2), nn.Conv2d(1, 4, 4, stride=4)
        self.reduce1d = nn.Linear(4, 1)
        for number, parameter in enumerate(self.parameters()):
            parameter.data = noise(*parameter.shape, seed=number)
        nn.init.constant_(self.reduce1d.bias, bias)

    def forward(self, images: Tensor) -> Maps:
        coarse = self.coarse(images)
        return self.fine(images), coarse, self.reduce1d(coarse.mean((2, 3)))[:, :, None, None]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def learner_with(encoder: nn.Module | None = None, **options: Any) -> QNet:
    return QNet(encoder or nn.Identity(), QNet.Options(**options)).eval()


def thresholds(*values: float) -> Tensor:
    return torch.tensor(values).reshape(-1, 1, 1, 1)


def features(count: int, seed: int, *values: float) -> Maps:
    """Return maps of 16 x 16 slices at strides 2 and 4."""
    return noise(count, 3, 8, 8, seed=seed), noise(count, 3, 4, 4, seed=seed + 100), thresholds(*values)


def disc(shots: int = 1) -> Tensor:
    masks = torch.zeros(shots, 16, 16, dtype=torch.bool)
    masks[:, 4:12, 5:11] = True
    return masks


def as_written(support: Maps, masks: Tensor, query: Maps, cuts: Tensor, align_corners: bool = True) -> Tensor:
    """Return P (Q,16,16) by the text: features to the mask, probabilities to the image, 0.9 and 0.1."""
    fused = torch.zeros(len(query[0]), 16, 16)
    for share, known, asked in zip((0.9, 0.1), support[:2], query[:2], strict=True):
        grown = F.interpolate(known, size=(16, 16), mode="bilinear", align_corners=False)
        each = [(f * m).sum((1, 2)) / (m.sum() + 1e-5) for f, m in zip(grown, masks.float(), strict=True)]
        prototype = torch.stack(each).mean(0)
        cosine = F.cosine_similarity(asked, prototype[None, :, None, None], dim=1)
        found = torch.sigmoid(0.5 * (cuts[:, None, None] + 20 * cosine))[:, None]
        resized = F.interpolate(found, size=(16, 16), mode="bilinear", align_corners=align_corners)
        fused = fused + share * resized[:, 0]
    return fused


@pytest.mark.parametrize("align_corners", [True, False])
def test_plain_probability_as_written(align_corners: bool) -> None:
    learner = learner_with(refinement_steps=0, align_corners=align_corners)
    support, query, masks = features(2, 0, -1.0, -2.0), features(3, 1, -12.0, -8.0, -5.0), disc(2)
    masks[1, 6] = False
    scores, defined = call_logits(learner, support, masks, query, {}, "query")
    wanted = as_written(support, masks, query, torch.tensor([-12.0, -8.0, -5.0]), align_corners)
    assert defined and scores.shape == (3, 2, 16, 16)
    assert torch.allclose(scores[:, 1].exp(), wanted, atol=1e-5)
    assert torch.allclose(scores.exp().sum(dim=1), torch.ones(3, 16, 16), atol=1e-6)


def test_the_alignment_branch_cuts_at_the_querys_threshold() -> None:
    """There the query is given as the support, and what it predicts is the mask."""
    learner = learner_with(refinement_steps=0)
    query, support, predicted = features(1, 0, -11.0), features(2, 1, 5.0, 6.0), disc()
    scores, _ = call_logits(learner, query, predicted, support, {}, "alignment")
    wanted = as_written(query, predicted, support, torch.tensor([-11.0, -11.0]))
    assert torch.allclose(scores[:, 1].exp(), wanted, atol=1e-5)


@pytest.mark.parametrize("weight", [0.9, 0.6])
def test_the_fine_map_has_the_larger_weight(weight: float) -> None:
    learner = learner_with(refinement_steps=0, fine_weight=weight, alpha=200.0)
    left = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
    right = left.flip(1)

    def filled(fine: Tensor, coarse: Tensor) -> Maps:
        return fine.expand(1, 2, 8, 8), coarse.expand(1, 2, 4, 4), thresholds(-100.0)

    for query, wanted in ((filled(left, right), weight), (filled(right, left), 1 - weight)):
        scores, _ = call_logits(learner, filled(left, left), disc(), query, {}, "query")
        assert torch.allclose(scores[:, 1].exp(), torch.full((1, 16, 16), wanted), atol=1e-6)


def test_odds_of_any_size_stay_finite() -> None:
    support, query = features(1, 0, 0.0), features(2, 1, -1e4, 1e4)
    scores, _ = call_logits(learner_with(refinement_steps=0), support, disc(), query, {}, "query")
    assert scores.isfinite().all() and bool((scores[0, 0] > scores[0, 1]).all())
    assert bool((scores[1, 0] < scores[1, 1]).all())


def normed(values: Tensor) -> Tensor:
    return torch.sigmoid((values - values.min()) / (values.max() - values.min()))


def test_the_rebuilding_loss_as_written() -> None:
    query, prototype, inside = noise(5, 4, 4), noise(5, seed=1), noise(4, 4, seed=2) > 0
    rebuilt = torch.where(inside, prototype[:, None, None], query)
    own, new = normed(query), normed(rebuilt)
    released = -(new * own.log() + (1 - new) * (1 - own).log()).mean()
    exchanged = -(own * new.log() + (1 - own) * (1 - new).log()).mean()
    for kind, wanted in (("released", released), ("exchanged", exchanged)):
        assert torch.allclose(rebuilding_loss(prototype, query, inside, kind), wanted, rtol=1e-6)


def test_the_released_refinement_adds_seven_hundredths_whatever_the_query() -> None:
    learner = learner_with()
    for seed in range(4):
        query, prototype = noise(64, 8, 8, seed=seed), 0.5 * noise(64, seed=10 + seed)
        cut = torch.tensor(0.0)  # half of the map is taken for the class
        assert 0.2 < (learner.foreground(prototype[None], query[None], cut[None]) > 0.5).float().mean() < 0.8
        moved = learner.refine(prototype[None], query[None], cut[None])[0] - prototype
        assert moved.min() > 0.069 and moved.max() < 0.0701


def test_a_channel_that_is_the_extremum_may_fall() -> None:
    query, prototype = 0.1 * noise(64, 8, 8), noise(64, seed=1)
    prototype[5] = -4.0  # the least of all that is rebuilt
    moved = learner_with().refine(prototype[None], query[None], torch.tensor([30.0]))[0] - prototype
    assert moved[5] == pytest.approx(-0.07, abs=1e-3)
    assert (moved > 0.06).sum() >= 62


def test_where_nothing_is_predicted_nothing_moves() -> None:
    query, prototype = noise(2, 6, 4, 4), noise(2, 6, seed=1)
    assert torch.equal(learner_with().refine(prototype, query, torch.tensor([-30.0, -30.0])), prototype)


def test_the_exchanged_refinement_comes_nearer_to_the_query() -> None:
    """All of the query is the class: rebuilding it pulls the prototype to the mean of the query."""
    query, prototype = 1 + 0.05 * noise(16, 8, 8) + noise(16, 1, 1, seed=3), noise(16, seed=1)
    learner = learner_with(refinement="exchanged", refinement_steps=60)
    moved = learner.refine(prototype[None], query[None], torch.tensor([100.0]))[0]
    mean = query.mean((1, 2))

    def spread(values: Tensor) -> Tensor:
        return (values - values.min()) / (values.max() - values.min())

    before, after = ((spread(one) - spread(mean)).abs().mean() for one in (prototype, moved))
    assert after < 0.8 * before and bool((moved - prototype < 0).any()) and bool((moved > prototype).any())


def test_refinement_is_adam_on_each_query_by_itself() -> None:
    learner = learner_with(refinement_steps=5, refinement_rate=0.05)
    start, query, cuts = noise(3, 6, seed=1), noise(3, 6, 4, 4), torch.tensor([-3.0, 0.0, 2.0])
    found = learner.refine(start, query, cuts)
    for number in range(3):
        free = start[number].clone().requires_grad_()
        optimiser = torch.optim.Adam([free], lr=0.05)
        for _ in range(5):
            cosine = F.cosine_similarity(free.detach()[:, None, None], query[number], dim=0)
            inside = torch.sigmoid(0.5 * (cuts[number] + 20 * cosine)) > 0.5
            rebuilt = torch.where(inside, free[:, None, None], query[number])
            own, new = normed(query[number]), normed(rebuilt)
            loss = -(new * own.log() + (1 - new) * (1 - own).log()).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        assert torch.allclose(found[number], free.detach(), atol=1e-4)
    alone = list(islice(learner.refinement(start[1], query[1], cuts[1]), 5))
    assert torch.equal(alone[-1].prototype, found[1]) and alone[0].loss > alone[-1].loss


def toy_question() -> tuple[Support, Tensor]:
    masks = torch.zeros(1, 16, 16, dtype=torch.bool)
    masks[0, 4:12, 4:12] = True
    return Support(noise(1, 1, 16, 16) + masks[:, None], masks), noise(3, 1, 16, 16, seed=1)


def test_refinement_changes_predictions_and_leaves_no_gradient() -> None:
    learner = learner_with(TwoMaps(), refinement_rate=0.2)
    support, query = toy_question()
    refined = learner.segment(support, query)
    with torch.inference_mode():
        assert torch.allclose(refined, learner.segment(support, query), atol=1e-6)
    plain = learner_with(TwoMaps(), refinement_steps=0)
    assert not torch.allclose(refined, plain.segment(support, query), atol=1e-3)
    assert not refined.requires_grad and all(p.grad is None for p in learner.parameters())


def test_training_does_not_refine() -> None:
    support, query, masks = features(1, 0, 0.0), features(1, 1, -8.0), disc()
    trained, plain = learner_with(refinement_rate=0.5), learner_with(refinement_steps=0)
    wanted, _ = call_logits(plain, support, masks, query, {}, "query")
    assert torch.allclose(call_logits(trained.train(), support, masks, query, {}, "query")[0], wanted)
    trained.eval()
    assert not torch.allclose(call_logits(trained, support, masks, query, {}, "query")[0], wanted, atol=1e-3)
    branches = (call_logits(one, support, masks, query, {}, "alignment")[0] for one in (trained, plain))
    assert torch.allclose(*branches)


def test_an_empty_foreground_has_the_zero_prototype() -> None:
    support, query = features(1, 0, 0.0), features(2, 1, -10.0, -4.0)
    scores, defined = call_logits(learner_with(), support, torch.zeros_like(disc()), query, {}, "query")
    wanted = torch.tensor([1 / (1 + math.exp(5)), 1 / (1 + math.exp(2))])
    assert defined and torch.allclose(scores[:, 1].exp(), wanted[:, None, None].expand(2, 16, 16), atol=1e-5)


def loss_of(learner: QNet, masks: Tensor | None = None) -> Any:
    support, query = toy_question()
    masks = support.masks[None] if masks is None else masks
    return learner.train().loss(Episode(support.images[None], masks, query[None, :1], support.masks[None]))


def test_the_loss_by_its_parts() -> None:
    learner = learner_with(TwoMaps())
    result = loss_of(learner)
    support, query = toy_question()
    maps = learner.encode(torch.cat([support.images, query[:1]]))
    known, asked = (tuple(one[part] for one in maps) for part in (slice(0, 1), slice(1, 2)))
    cut = asked[2].flatten()

    def cost(found: Tensor, weights: Tensor) -> Tensor:
        each = -torch.where(support.masks, found, 1 - found).log()
        return (weights * each).sum() / weights.sum()

    found = as_written(known, support.masks, asked, cut)  # type: ignore[arg-type]
    predicted = found > 0.5
    assert predicted.any() and not predicted.all()
    back = as_written(asked, predicted, known, cut)  # type: ignore[arg-type]
    assert list(result.parts) == ["query", "alignment"]
    assert bool(result.defined) and int(result.skipped) == 0
    wanted = cost(found, torch.where(support.masks, 1.0, 0.1))
    assert torch.allclose(result.parts["query"], wanted, rtol=1e-4)
    assert torch.allclose(result.parts["alignment"], cost(back, torch.ones(1, 16, 16)), rtol=1e-4)
    assert torch.allclose(result.total, torch.stack(list(result.parts.values())).sum())
    result.total.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in learner.parameters())
    assert bool(learner.encoder.reduce1d.weight.grad.any())  # type: ignore[union-attr]


def test_nothing_predicted_leaves_the_query_loss() -> None:
    learner = learner_with(TwoMaps(bias=-26.0))
    result = loss_of(learner)
    assert bool(result.defined) and result.parts["alignment"].item() == 0.0
    result.total.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in learner.parameters())
    assert bool((learner.encoder.fine.weight.grad != 0).any())  # type: ignore[union-attr]


def test_an_empty_support_is_learned_from_or_skipped() -> None:
    empty = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    result = loss_of(learner_with(TwoMaps()), empty)
    assert bool(result.defined) and result.parts["query"].item() > 1
    assert result.parts["alignment"].item() == 0.0
    skipped = loss_of(learner_with(TwoMaps(), skip_empty_support=True), empty)
    assert not bool(skipped.defined) and int(skipped.skipped) == 1


def test_the_first_threshold_is_torchs_or_the_given_one() -> None:
    plain, set_to = (TwoScaleEncoder("resnet18") for _ in range(2))
    QNet(plain), QNet(set_to, QNet.Options(initial_threshold=-10.0))
    assert abs(float(plain.reduce1d.bias.detach())) < 0.04 and set_to.reduce1d.bias.tolist() == [-10.0]
    with pytest.raises(UserError, match="Identity has no layer reduce1d to set; leave it at none"):
        learner_with(initial_threshold=-10.0)


def test_it_brings_its_encoder_and_recipe() -> None:
    assert isinstance(QNet.new_encoder("resnet18", 0), TwoScaleEncoder)
    recipe = QNet.recipe()
    assert (recipe.learning_rate, recipe.momentum, recipe.weight_decay) == (1e-3, 0.9, 5e-4)
    assert (recipe.steps, recipe.decay, recipe.decay_every) == (30_000, 0.98, 1000)
    assert (recipe.encoder, recipe.weights, recipe.episode) == ("resnet101", "coco", "supervoxel-run")
    assert QNet.class_weights == (0.1, 1.0) and QNet.version == 2


def test_a_released_checkpoint_loads(tmp_path: Path) -> None:
    one, other = (QNet(TwoScaleEncoder("resnet18", seed=seed)) for seed in (0, 1))
    assert {"encoder.backbone.fc.weight", "encoder.reduce1.weight", "encoder.reduce1d.bias"} <= set(
        one.state_dict()
    )
    torch.save(one.state_dict(), tmp_path / "30000.pth")
    load_released(tmp_path / "30000.pth", other)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alpha", 0.0), ("kappa", -1.0), ("refinement_rate", 0.0), ("fine_weight", 1.0), ("fine_weight", 0.0),
        ("refinement_steps", -1), ("refinement", "corrected"),
    ],
)  # fmt: skip
def test_senseless_options_are_refused(name: str, value: float | str) -> None:
    with pytest.raises(UserError, match=f"option {name} is {value!r}; give"):
        QNet.Options(**{name: value})  # type: ignore[arg-type]
