"""RPT against partitions, passes and losses worked by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_encoder import SmallThresholdEncoder
from torch import Tensor

from baselines.rpt.attention import RegionAttention, cut_affinities
from baselines.rpt.losses import boundary_loss, dice_loss, likelihood_loss, log_pair, loss_weights
from baselines.rpt.model import RPT
from baselines.rpt.regions import (
    fixed_draws,
    foreground_cells,
    partition,
    region_means,
    repeat_means,
    with_corner,
)
from baselines.threshold_encoder import ThresholdEncoder
from fewshot.base.errors import UserError
from fewshot.base.types import Episode, Support
from fewshot.learners.logits import call_logits
from fewshot.learners.prototypes import average_under, spread_masks

FLOOR = 1.1920929e-07


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def disc(side: int = 48, radius: int = 14) -> Tensor:
    rows, columns = torch.arange(side)[:, None], torch.arange(side)[None]
    return (rows - side // 2) ** 2 + (columns - side // 2) ** 2 < radius**2


def learner_with(**options: Any) -> RPT:
    torch.manual_seed(0)
    return RPT(SmallThresholdEncoder(), RPT.Options(**options)).eval()


def question(shots: int = 1, queries: int = 2) -> tuple[Support, Tensor]:
    masks = disc().expand(shots, -1, -1).clone()
    return Support(noise(shots, 1, 48, 48) + masks[:, None], masks), noise(queries, 1, 48, 48, seed=1)


@pytest.mark.parametrize("align_corners", [False, True])
def test_spreading_is_the_transpose_of_resizing(align_corners: bool) -> None:
    features, weights = noise(2, 3, 5, 7), noise(2, 20, 21, seed=1)
    resized = F.interpolate(features, size=(20, 21), mode="bilinear", align_corners=align_corners)
    wanted = (resized * weights[:, None]).sum(dim=(2, 3))
    cells = spread_masks(weights, (5, 7), align_corners)
    assert torch.allclose((features * cells[:, None]).sum(dim=(2, 3)), wanted, atol=1e-4)
    masks = weights > 0
    average = (resized * masks[:, None]).sum(dim=(2, 3)) / (masks.sum(dim=(1, 2)) + 1e-5)[:, None]
    assert torch.allclose(average_under(features, masks, align_corners), average, atol=1e-5)


def test_a_cell_counts_where_any_of_its_four_middle_pixels_does() -> None:
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[4, 4] = mask[9, 13] = True  # a cell sees pixels 4i + 1 and 4i + 2 each way: the first is missed
    assert foreground_cells(mask, (4, 4)).nonzero()[:, 0].tolist() == [2 * 4 + 3]


def test_partition_by_hand() -> None:
    # Row 0 of a grid 6 wide: candidates 0, 1, 3, 5. From candidate number 1 (cell 1): distances 1, 4, 16, so
    # cell 5; then nearest distances are 1 (cell 0), 0, 4 (cell 3), 0, so cell 3; then cell 0.
    cells = torch.tensor([1, 1, 0, 1, 0, 1] + [0] * 6, dtype=torch.bool)
    found = partition(cells, 6, 3, torch.tensor(1))
    assert found.centres.tolist() == [1, 5, 3] and int(found.count) == 4
    assert found.owners[cells].tolist() == [0, 0, 2, 1]
    # Three in a row from the middle: both ends are as far, the first is taken.
    line = torch.tensor([1, 1, 1], dtype=torch.bool)
    assert partition(line, 3, 2, torch.tensor(1)).centres.tolist() == [1, 0]
    # Cell 1 lies between centres 0 and 2: the earliest centre owns it.
    assert partition(line, 3, 2, torch.tensor(2)).owners.tolist() == [1, 0, 0]
    assert partition(line, 3, 5, torch.tensor(0)).centres.tolist()[:3] == [0, 2, 1]  # then repeats


def test_partition_against_a_slow_form() -> None:
    generator = np.random.Generator(np.random.PCG64(3))
    shown = generator.random((9, 11)) < 0.6
    points = np.argwhere(shown)
    centres = [4]
    while len(centres) < 7:
        squares = ((points[:, None] - points[centres][None]) ** 2).sum(axis=2).min(axis=1)
        centres.append(int(squares.argmax()))
    owners = ((points[:, None] - points[centres][None]) ** 2).sum(axis=2).argmin(axis=1)
    found = partition(torch.from_numpy(shown.ravel()), 11, 7, torch.tensor(4))
    assert found.centres.tolist() == [int(y * 11 + x) for y, x in points[centres]]
    assert found.owners[found.cells].tolist() == owners.tolist()
    features = noise(5, 9, 11)
    wanted = [features[:, *points[owners == k].T].mean(dim=1) for k in range(7)]
    assert torch.allclose(region_means(features, found), torch.stack(wanted), atol=1e-5)


def test_too_few_cells_get_the_corner_or_repeat() -> None:
    cells = torch.zeros(144, dtype=torch.bool)
    cells[[50, 120, 130]] = True
    filled = with_corner(cells, 100)
    assert int(filled.sum()) == 102 and bool(filled[:100].all()) and not bool(filled[100:120].any())
    assert torch.equal(with_corner(torch.ones(144, dtype=torch.bool), 100), torch.ones(144, dtype=torch.bool))
    means, prototype = noise(5, 3), noise(3, seed=1)
    assert torch.equal(repeat_means(means, torch.tensor(2), prototype), means[[0, 1, 0, 1, 0]])
    assert torch.equal(repeat_means(means, torch.tensor(0), prototype), prototype.expand(5, 3))


def test_regions_of_a_small_organ_are_its_own_where_they_repeat() -> None:
    mask, features = disc(48, 4), noise(8, 12, 12)
    shown = foreground_cells(mask, (12, 12))
    own = {tuple(value.tolist()) for value in features.flatten(1).T[shown]}
    for few_cells, share in (("corner", False), ("repeat", True)):
        learner = learner_with(few_cells=few_cells)
        regions = learner.region_features(features, mask, torch.zeros(8))
        assert all(tuple(one.tolist()) in own for one in regions) == share


def test_the_released_draw_is_a_function_of_the_candidates_alone() -> None:
    for count in (1, 10, 124, 497):
        assert fixed_draws(1289, 500)[count] == np.random.RandomState(1289).choice(count)
    learner = learner_with()
    assert int(learner.first_centre(torch.tensor(124), 144)) == 44
    assert int(learner.first_centre(torch.tensor(0), 144)) == 0


def test_a_training_draws_uniformly_from_torchs_generator() -> None:
    learner = learner_with().train()
    torch.manual_seed(5)
    draws = [int(learner.first_centre(torch.tensor(7), 144)) for _ in range(700)]
    counts = np.bincount(draws, minlength=7)
    assert len(counts) == 7 and counts.min() > 60  # 100 each, standard deviation 9
    torch.manual_seed(5)
    assert draws[:20] == [int(learner.first_centre(torch.tensor(7), 144)) for _ in range(20)]


def test_affinities_below_the_cut_get_no_share() -> None:
    # mean 2.5, least -4: the cut is floor(-0.75) = -1, so -4 alone is below it
    found = cut_affinities(torch.tensor([[-4.0, -1.0, 5.0, 10.0]]))
    assert found.tolist() == [[-10_004.0, -1.0, 5.0, 10.0]]


def test_attention_by_hand() -> None:
    block = RegionAttention(4).eval()
    regions = noise(2, 5, 4)
    heads = []
    for head in range(3):
        rows = slice(4 * head, 4 * head + 4)
        q, k, v = (
            F.relu(regions @ layer.weight[rows].T + layer.bias[rows])
            for layer in (block.w_qs, block.w_ks, block.w_vs)
        )
        heads.append(torch.softmax(q @ k.transpose(1, 2) / 2, dim=2) @ v)
    out = F.relu(torch.cat(heads, dim=2) @ block.fc.weight.T + block.fc.bias) + regions
    centred = out - out.mean(dim=2, keepdim=True)
    wanted = centred / (out.var(dim=2, unbiased=False, keepdim=True) + 1e-5).sqrt()
    assert torch.allclose(block(regions), wanted, atol=1e-5)


def test_one_pass_by_hand() -> None:
    learner = learner_with(passes=1)
    features, query = noise(8, 12, 12), (noise(1, 8, 12, 12, seed=2), torch.full((1, 1, 1, 1), -3.0))
    (one,) = learner.passes(features, disc(), query)
    up = F.interpolate(features[None], size=(48, 48), mode="bilinear", align_corners=False)[0]
    prototype = up[:, disc()].sum(dim=1) / (disc().sum() + 1e-5)

    def probability(vector: Tensor) -> Tensor:
        cosine = F.cosine_similarity(query[0][0], vector[:, None, None], dim=0)
        return torch.sigmoid(0.5 * (-3.0 + 20 * cosine))

    first = probability(prototype)
    context = (query[0][0] * first).sum(dim=(1, 2)) / (first.sum() + 1e-5)
    assert torch.allclose(one.query_prototypes[0], context, atol=1e-5)
    regions = learner.region_features(features, disc(), prototype)
    assert torch.allclose(one.affinities[0], regions @ context, atol=1e-4)
    shares = cut_affinities(one.affinities).softmax(dim=1)[0]
    normed = learner.layer_norm(shares[:, None] * context + regions)
    block = learner.MLP(learner.MHA(normed[None]))[0]
    assert torch.allclose(one.prototypes[0], block.mean(dim=0) + prototype, atol=1e-5)
    assert torch.allclose(one.probabilities[0], probability(one.prototypes[0]), atol=1e-5)
    (older,) = learner_with(passes=1, variant="2023").passes(features, disc(), query)
    assert older.regions.shape == (1, 10, 8)
    assert torch.allclose(older.prototypes, older.regions.mean(dim=1), atol=1e-6)


def test_several_shots_are_answered_one_by_one() -> None:
    learner = learner_with()
    support, query = question(shots=2)
    together = learner.segment(support, query)
    single = [learner.segment(Support(support.images[[n]], support.masks[[n]]), query) for n in range(2)]
    assert torch.allclose(together, torch.stack(single).mean(dim=0), atol=1e-5)


def test_the_map_must_hold_all_regions() -> None:
    learner = learner_with()
    mask = torch.ones(1, 36, 36, dtype=torch.bool)
    with pytest.raises(UserError, match="9 x 9 cells"):
        learner.segment(Support(noise(1, 1, 36, 36), mask), noise(1, 1, 36, 36))


def test_a_tie_is_background() -> None:
    scores = log_pair(torch.tensor([[[0.5, 0.5000001, 0.4999999, 0.0, 1.0]]]))
    difference = scores[:, 1] - scores[:, 0]
    assert difference[0, 0, 0] == 0 and difference[0, 0, 1] > 0 > difference[0, 0, 2]
    assert bool(scores.isfinite().all())


def test_likelihood_losses_by_hand() -> None:
    probabilities = torch.tensor([[[0.8, 0.3, -0.5]]], requires_grad=True)
    masks = torch.tensor([[[True, False, True]]])
    plain = likelihood_loss(probabilities, masks)
    assert plain.item() == pytest.approx(-(math.log(0.8) + math.log(0.7) + math.log(FLOOR)) / 3)
    weighted = likelihood_loss(probabilities, masks, (0.1, 1.0))
    wanted = -(math.log(0.8) + 0.1 * math.log(0.7) + math.log(FLOOR)) / 2.1
    assert weighted.item() == pytest.approx(wanted)
    plain.backward()  # type: ignore[no-untyped-call]
    assert probabilities.grad is not None
    assert probabilities.grad[0, 0].tolist() == pytest.approx([-1 / 2.4, 1 / 2.1, 0.0])


def test_losses_of_2023_by_hand() -> None:
    assert loss_weights("2023", 4999) == {"query": 1.0, "boundary": 0.0, "dice": 1.0}
    late = loss_weights("2023", 39_999)
    assert late["dice"] == pytest.approx(0.93) and late["boundary"] == pytest.approx(0.07)
    masks = torch.tensor([[[True, False, False, True]]])
    probabilities = torch.tensor([[[0.6, 0.2, 0.0, 1.0]]])
    assert dice_loss(probabilities, masks, squash=False).item() == pytest.approx(1 - 4.2 / 4.8)
    values = [1 / (1 + math.exp(-p)) for p in (0.6, 0.2, 0.0, 1.0)]
    wanted = 1 - (2 * (values[0] + values[3]) + 1) / (sum(values) + 2 + 1)
    assert dice_loss(probabilities, masks, squash=True).item() == pytest.approx(wanted)
    square = torch.zeros(1, 12, 12, dtype=torch.bool)
    square[0, 4:8, 4:8] = True
    assert boundary_loss(square.float(), square, squash=False).item() == pytest.approx(0, abs=1e-6)
    far = torch.zeros(1, 12, 12)
    assert boundary_loss(far, square, squash=False).item() == pytest.approx(1, abs=1e-6)
    # a perfect prediction, squashed: precision 1, recall tanh(1/2), so 1 - F = 1/e
    found = boundary_loss(square.float(), square, squash=True).item()
    assert found == pytest.approx(math.exp(-1), abs=1e-6)


def test_the_step_reaches_the_loss_of_2023() -> None:
    learner = learner_with(variant="2023").train()
    support, query = question(queries=1)
    episode = Episode(support.images[None], support.masks[None], query[None], support.masks[None])
    learner.begin_step(10_000)
    result = learner.loss(episode)
    parts = result.parts
    wanted = parts["query"] + 0.02 * parts["boundary"] + 0.98 * parts["dice"]
    assert list(parts) == ["query", "boundary", "dice"]
    assert result.total.item() == pytest.approx(wanted.item())


def test_the_loss_is_the_weighted_sum_of_its_parts() -> None:
    learner = learner_with().train()
    support, query = question(queries=1)
    result = learner.loss(
        Episode(support.images[None], support.masks[None], query[None], support.masks[None])
    )
    weights = {"query": 1.0, "periphery": 0.1, "alignment": 1.0, "distance": 0.1, "self": 1.0}
    assert list(result.parts) == list(weights) and bool(result.defined)
    wanted = sum(weights[name] * part.item() for name, part in result.parts.items())
    assert result.total.item() == pytest.approx(wanted)


def test_nothing_predicted_leaves_three_parts() -> None:
    learner = learner_with().train()
    learner.encoder.cut.bias.data.fill_(-50.0)  # type: ignore[union-attr]
    support, query = question(queries=1)
    result = learner.loss(
        Episode(support.images[None], support.masks[None], query[None], support.masks[None])
    )
    assert result.parts["alignment"].item() == 0 and result.parts["distance"].item() == 0
    assert bool(result.defined) and result.parts["self"].item() > 0
    result.total.backward()  # type: ignore[no-untyped-call]
    assert all(bool(p.grad.isfinite().all()) for p in learner.parameters() if p.grad is not None)


def test_an_empty_support_mask_is_learnt_from() -> None:
    learner = learner_with().train()
    support, query = question(queries=1)
    empty = torch.zeros_like(support.masks)[None]
    result = learner.loss(Episode(support.images[None], empty, query[None], support.masks[None]))
    assert bool(result.defined) and int(result.skipped) == 0
    maps = learner.eval().encode(torch.cat([support.images, query]))
    halves = [tuple(one[part] for one in maps) for part in (slice(0, 1), slice(1, 2))]
    prototype = learner.prototype(halves[0][0], empty[0])
    assert not bool(prototype.any())
    first = learner.probabilities(halves[1][0], prototype, halves[1][1])
    assert torch.allclose(first, torch.sigmoid(0.5 * halves[1][1][:, 0]).expand_as(first))
    scores, defined = call_logits(learner, halves[0], empty[0], halves[1], {}, "query")
    assert bool(defined) and bool(scores.isfinite().all())


def test_the_encoder_by_hand() -> None:
    encoder = ThresholdEncoder("resnet18", seed=3).eval()
    again = ThresholdEncoder("resnet18", seed=3).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in encoder.state_dict().items())
    with torch.no_grad():
        fine, thresholds = encoder(noise(2, 1, 64, 48))
        third, fourth = encoder.backbone.later_maps(noise(2, 1, 64, 48).expand(-1, 3, -1, -1))
    assert fine.shape == (2, 512, 16, 12) and fourth.shape == (2, 512, 8, 6)
    state = encoder.state_dict()
    pooled = fourth.mean(dim=(2, 3)) @ state["backbone.fc.weight"].T + state["backbone.fc.bias"]
    wanted = pooled @ state["reduce1d.weight"].T + state["reduce1d.bias"]
    assert torch.allclose(thresholds.flatten(), wanted.flatten(), atol=1e-5)
    assert torch.allclose(
        fine[:, 0], torch.einsum("nchw,c->nhw", third, state["reduce1.weight"][0, :, 0, 0]), atol=1e-4
    )
    assert state["reduce1.weight"].std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.02)
    assert state["reduce1d.weight"].abs().max().item() <= 1000**-0.5


def test_the_recipe_is_the_published_one() -> None:
    recipe = RPT.recipe()
    assert (recipe.steps, recipe.decay, recipe.decay_every) == (30_000, 0.98, 5000)
    assert (recipe.learning_rate, recipe.momentum, recipe.weight_decay) == (1e-3, 0.9, 5e-4)
    assert (recipe.encoder, recipe.weights, recipe.episode) == ("resnet101", "coco", "supervoxel-run")


@pytest.mark.parametrize(
    "wrong", [{"alpha": 0.0}, {"kappa": -1.0}, {"passes": 0}, {"draw_seed": -1}, {"alpha": math.nan}]
)
def test_options_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        RPT.Options(**wrong)
