"""GMRD against filled maps, descriptors and losses written out pixel by pixel."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_encoder import SmallThresholdEncoder
from torch import Tensor

from baselines.gmrd.descriptors import Decoder, FilledSums, background_means, foreground_means, pixel_masks
from baselines.gmrd.fill import Fill, fill_from_samples, random_fill, released_samples, tiled_fill
from baselines.gmrd.losses import inter_loss, intra_loss
from baselines.gmrd.model import GMRD, split_fill
from fewshot.base.errors import UserError
from fewshot.base.types import Episode, Support
from fewshot.learners.logits import call_logits

SIDE = 256


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def disc(radius: int, side: int = SIDE) -> Tensor:
    rows, columns = torch.arange(side)[:, None], torch.arange(side)[None]
    return (rows - side // 2) ** 2 + (columns - side // 2) ** 2 < radius**2


def learner_with(**options: Any) -> GMRD:
    torch.manual_seed(0)
    return GMRD(SmallThresholdEncoder(), GMRD.Options(**options)).eval()


def question(shots: int = 1, queries: int = 1, side: int = 64) -> tuple[Support, Tensor]:
    masks = disc(side // 4, side).expand(shots, -1, -1).clone()
    return Support(noise(shots, 1, side, side) + masks[:, None], masks), noise(queries, 1, side, side, seed=1)


def sides(*rows: str) -> Tensor:
    return torch.tensor([[character == "x" for character in row] for row in rows])


def test_fewer_others_than_pixels_are_filled_by_the_sample() -> None:
    fill = fill_from_samples(sides("x.xx.x"), lambda count, size: [3, 1][:size])
    assert fill.sources.tolist() == [[0, 5, 2, 3, 2, 5]] and fill.drawn.tolist() == [[0, 1, 0, 0, 1, 0]]


def test_more_others_than_pixels_are_tiled_after_a_random_head() -> None:
    # 3 pixels at 1, 4, 6; 8 others: a head of 8 mod 3 = 2, then the pixels in order, twice
    given: list[tuple[int, int]] = []

    def sample(count: int, size: int) -> list[int]:
        given.append((count, size))
        return [2, 0]

    fill = fill_from_samples(sides(".x..x.x...."), sample)
    assert given == [(3, 2)]
    assert fill.sources[0].tolist() == [6, 1, 1, 1, 4, 4, 6, 6, 1, 4, 6]
    assert fill.drawn[0].nonzero()[:, 0].tolist() == [0, 2]
    assert torch.equal(tiled_fill(sides(".x..x.x....")).drawn, fill.drawn)


def test_full_and_empty_sides_need_no_source() -> None:
    fill = fill_from_samples(sides("xxxx", "...."), lambda count, size: [0] * size)
    assert fill.sources[0].tolist() == [0, 1, 2, 3] and not bool(fill.drawn.any())
    assert bool((fill.sources < 4).all())


def test_the_released_samples_are_those_of_a_new_stream() -> None:
    one, other = released_samples(2025), released_samples(2025)
    stream = random.Random(2025)
    for count, size in ((394, 132), (65_142, 394)):
        wanted = stream.sample(range(count), size)
        assert list(one(count, size)) == wanted == list(other(count, size))


def test_a_random_fill_is_a_sample_without_repetition() -> None:
    torch.manual_seed(3)
    rows = sides("xx.xxx..x.", ".x.....x..")
    heads = []
    for _ in range(300):
        fill = random_fill(rows)
        first = fill.sources[0][~rows[0]]
        assert len(set(first.tolist())) == 4 and bool(rows[0][first].all())
        assert fill.sources[1][~rows[1]].tolist() == [1, 7] * 4  # 8 mod 2 = 0: tiled, nothing drawn
        heads.append(int(first[0]))
    counts = [heads.count(place) for place in (0, 1, 3, 4, 5, 8)]
    assert sum(counts) == 300 and min(counts) > 25  # 50 each, standard deviation 6.5
    torch.manual_seed(3)
    assert heads[:5] == [int(random_fill(rows).sources[0][~rows[0]][0]) for _ in range(5)]


def dense_sums(network: FilledSums, features: Tensor, side: Tensor, fill: Fill) -> Tensor:
    """Return the made descriptors (n,C) from a filled map of 256 x 256 pixels, as the release builds it."""
    up = F.interpolate(features, size=(SIDE, SIDE), mode="bilinear", align_corners=True)[0].flatten(1)
    filled = up[:, fill.sources[0]] * side.any()
    return network.reduce.eval()(filled).T


@pytest.mark.parametrize("radius", [20, 110, 140, 200])
def test_made_descriptors_without_the_map_equal_those_from_it(radius: int) -> None:
    torch.manual_seed(0)
    network, features = FilledSums(3, rectified=False).eval(), noise(1, 5, 16, 16)
    for side in (disc(radius)[None], ~disc(radius)[None]):
        fill = random_fill(side.flatten(1))
        found = network(features, side, fill, mean=False)[0]
        assert torch.allclose(found, dense_sums(network, features, side, fill), atol=1e-4)


def test_the_mean_takes_the_place_of_what_is_drawn() -> None:
    torch.manual_seed(0)
    network, features = FilledSums(2, rectified=False).eval(), noise(1, 4, 16, 16)
    side = ~disc(40)[None]
    fill = tiled_fill(side.flatten(1))
    up = F.interpolate(features, size=(SIDE, SIDE), mode="bilinear", align_corners=True)[0].flatten(1)
    filled = torch.where(side.flatten(), up, up[:, side.flatten()].mean(dim=1, keepdim=True))
    found = network(features, side, fill, mean=True)[0]
    assert torch.allclose(found, network.reduce(filled).T, atol=1e-4)


def test_the_mean_is_the_expectation_over_draws() -> None:
    torch.manual_seed(0)
    network, features = FilledSums(2, rectified=False).eval(), noise(1, 4, 16, 16)
    side = disc(100)[None]  # tiled once after a random head
    wanted = network(features, side, tiled_fill(side.flatten(1)), mean=True)[0]
    draws = torch.stack(
        [network(features, side, random_fill(side.flatten(1)), mean=False)[0] for _ in range(40)]
    )
    error = (draws.mean(dim=0) - wanted).abs() / (draws.std(dim=0) / 40**0.5)
    assert error.max().item() < 4


def test_a_side_without_a_pixel_gives_constants() -> None:
    network = FilledSums(3, rectified=False).eval()
    empty = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    for mean in (False, True):
        found = network(noise(1, 4, 16, 16), empty, tiled_fill(empty.flatten(1)), mean)[0]
        wanted = network.reduce(torch.zeros(4, SIDE * SIDE)).T
        assert torch.allclose(found, wanted, atol=1e-6)


def test_means_and_rings_by_hand() -> None:
    features = noise(1, 3, 32, 32)
    up = F.interpolate(features, size=(SIDE, SIDE), mode="bilinear", align_corners=True)[0]
    mask = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    mask[0, 100:120, 0:30] = True  # touches the slice's edge, which does not erode
    deep = torch.zeros_like(mask[0])
    deep[102:118, 0:28] = True
    near = torch.zeros_like(mask[0])
    near[98:122, 0:32] = True
    inner, near = mask[0] & ~deep, near & ~mask[0]
    found = foreground_means(features, mask)[0]
    assert torch.allclose(found[0], up[:, mask[0]].mean(dim=1), atol=1e-4)
    assert torch.allclose(found[1], up[:, inner].mean(dim=1), atol=1e-4)
    outside = ~mask[0]
    released = background_means(features, mask, "released")[0]
    assert torch.allclose(released[0], up[:, outside].mean(dim=1), atol=1e-4)
    sums = up[:, outside].sum(dim=1) - up[:, deep].sum(dim=1)
    assert torch.allclose(released[1], sums / (outside.sum() - deep.sum()), atol=1e-4)
    ring = background_means(features, mask, "ring")[0]
    assert torch.allclose(ring[1], up[:, near].mean(dim=1), atol=1e-4)


def test_masks_of_another_size_lose_no_pixel() -> None:
    small, large = torch.zeros(1, 64, 96, dtype=torch.bool), torch.zeros(1, 512, 512, dtype=torch.bool)
    small[0, 3, 5] = large[0, 100, 301] = True
    assert int(pixel_masks(small).sum()) >= 4 * 2 and bool(pixel_masks(small)[0, 12:16, 14].all())
    assert bool(pixel_masks(large)[0, 50, 150]) and int(pixel_masks(large).sum()) == 1
    assert pixel_masks(disc(9)[None]).data_ptr() is not None


def test_a_decoder_has_the_released_shapes_and_no_bias() -> None:
    shapes = {name: tuple(value.shape) for name, value in Decoder(100).state_dict().items()}
    assert shapes == {
        "res1.0.weight": (100, 102, 1, 1),
        "res2.0.weight": (100, 100, 3, 3),
        "res2.2.weight": (100, 100, 3, 3),
        "down.0.weight": (100, 100, 3, 3),
        "down.3.weight": (1, 100, 1, 1),
    }


def test_equal_questions_get_equal_answers_and_the_draw_matters() -> None:
    support, query = question(queries=2)
    learner = learner_with()
    together = learner.segment(support, query)
    assert torch.equal(together, learner.segment(support, query))
    alone = torch.cat([learner.segment(support, one[None]) for one in query])
    assert torch.allclose(together, alone, atol=1e-5)
    other = learner_with(draw_seed=1).segment(support, query)
    mean = learner_with(fill="mean").segment(support, query)
    assert not torch.equal(together, other) and not torch.equal(together, mean)


def test_descriptors_of_several_shots_are_averaged() -> None:
    learner = learner_with(fill="mean")
    features, masks = noise(2, 8, 16, 16), torch.stack([disc(30), disc(50)])
    together = learner.descriptors(features, masks, learner.draw_fills(masks))
    single = [
        learner.descriptors(features[[n]], masks[[n]], learner.draw_fills(masks[[n]])) for n in range(2)
    ]
    for side in range(2):
        wanted = (single[0][side] + single[1][side]) / 2
        assert torch.allclose(together[side], wanted, atol=1e-5)
    assert together[0].shape == (102, 8) and together[1].shape == (602, 8)


def test_the_loss_by_its_parts() -> None:
    learner = learner_with().train()
    support, query = question()
    fills = iter([learner.draw_fills(pixel_masks(support.masks)) for _ in range(2)])
    given = list(fills)
    fills = iter(given)
    learner.draw_fills = lambda _pixels: next(fills)  # type: ignore[method-assign]
    for module in learner.modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d):
            module.p = 0.0
    result = learner.loss(
        Episode(support.images[None], support.masks[None], query[None], support.masks[None])
    )
    fine, _ = learner.encode(torch.cat([support.images, query]))
    ours = learner.descriptors(fine[:1], support.masks, given[0])
    answer = learner.probabilities(ours, fine[1:], (64, 64))
    truth = support.masks
    chosen = torch.where(truth, answer, 1 - answer).log()
    weights = torch.where(truth, 1.0, 0.1)
    wanted = -(weights * chosen).sum() / weights.sum()
    assert result.parts["query"].item() == pytest.approx(wanted.item(), rel=1e-5)
    theirs = learner.descriptors(fine[1:], answer > 0.5, given[1])
    back = learner.probabilities(theirs, fine[:1], (64, 64))
    plain = -torch.where(truth, back, 1 - back).log().mean()
    assert bool((answer > 0.5).any())
    assert result.parts["alignment"].item() == pytest.approx(plain.item(), rel=1e-5)
    assert result.total.item() == pytest.approx((wanted + plain).item(), rel=1e-5)


def test_weights_of_the_path_not_taken_get_no_gradient() -> None:
    support, query = question()
    for mask, without in ((support.masks, "encoder.cut"), (torch.zeros_like(support.masks), "decoder1")):
        learner = learner_with().train()
        result = learner.loss(Episode(support.images[None], mask[None], query[None], support.masks[None]))
        result.total.backward()  # type: ignore[no-untyped-call]
        none = {name for name, value in learner.named_parameters() if value.grad is None}
        assert bool(result.defined) and any(name.startswith(without) for name in none)
        assert ("mlp1.reduce.0.weight" in none) == (without == "decoder1")


def test_an_empty_support_is_decided_by_the_threshold() -> None:
    for threshold in (-3.0, 3.0):
        learner = learner_with()
        learner.encoder.cut.weight.data.zero_()  # type: ignore[union-attr]
        learner.encoder.cut.bias.data.fill_(threshold)  # type: ignore[union-attr]
        support, query = question()
        empty = Support(support.images, torch.zeros_like(support.masks))
        answer = learner.segment(empty, query)
        wanted = 1 / (1 + 2.718281828 ** (-0.5 * threshold))
        assert torch.allclose(answer, torch.full_like(answer, wanted), atol=1e-5)


def test_an_empty_support_can_be_left_out() -> None:
    learner = learner_with(learn_from_empty=False).train()
    support, query = question()
    empty = torch.zeros_like(support.masks)[None]
    result = learner.loss(Episode(support.images[None], empty, query[None], support.masks[None]))
    assert not bool(result.defined) and int(result.skipped) == 1
    maps = learner.eval().encode(support.images)
    assert not bool(call_logits(learner, maps, empty[0], maps, {}, "query")[1])


def test_losses_of_2023_by_hand() -> None:
    axes = torch.eye(5)
    one = (axes[[0, 1, 2, 3]], axes[[0, 1, 4, 4]])  # two made rows, mean, ring
    same = intra_loss(one, one)
    assert same.item() == pytest.approx(0.0, abs=1e-6)
    turned = (axes[[1, 0, 3, 2]], 2 * axes[[0, 0, 4, 4]])
    # foreground: made rows agree in another order, mean and ring do not: 2 of 4; background: 3 of 4
    assert intra_loss(one, turned).item() == pytest.approx(2 - 2 / 4 - 3 / 4)
    # pairs of equal axes: 2 of 16 in the first; in the second rows 0 and 1 of the foreground meet one axis
    assert inter_loss(one, turned).item() == pytest.approx(2 / 16 + 2 / 16)
    opposite = (axes[[0, 0, 0]], -axes[[0, 0, 0]])
    assert inter_loss(opposite, opposite).item() == 0


def test_the_state_of_2023_has_a_relu_and_two_more_parts() -> None:
    learner = learner_with(variant="2023").train()
    assert "mlp1.reduce.3.weight" in learner.state_dict()
    assert "mlp1.reduce.2.weight" in learner_with().state_dict()
    support, query = question()
    result = learner.loss(
        Episode(support.images[None], support.masks[None], query[None], support.masks[None])
    )
    parts = {name: value.item() for name, value in result.parts.items()}
    assert list(parts) == ["query", "alignment", "intra", "inter"]
    wanted = parts["query"] + parts["alignment"] + 0.5 * (parts["intra"] + parts["inter"])
    assert result.total.item() == pytest.approx(wanted)


def test_fills_are_split_by_side() -> None:
    fill = tiled_fill(sides("x.", ".x", "x.", "xx"))
    first, second = split_fill(fill, 2)
    assert torch.equal(torch.cat([first.sources, second.sources]), fill.sources)


def test_the_recipe_is_the_published_one() -> None:
    recipe = GMRD.recipe()
    assert (recipe.steps, recipe.decay, recipe.decay_every, recipe.snapshot_every) == (
        36_000,
        0.98,
        3000,
        6000,
    )
    assert (recipe.encoder, recipe.weights, recipe.episode) == ("resnet101", "coco", "supervoxel-run")
    with pytest.raises(UserError, match="draw_seed"):
        GMRD.Options(draw_seed=-1)
