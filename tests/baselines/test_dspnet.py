"""DSPNet against a slow form of rules M-DSP-1 to M-DSP-7, and what the recorded vectors can't see."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from dspnet_by_hand import scores_by_hand, seeds_by_hand
from dspnet_cases import CASES, SIDE, box, disc, learner, noise
from torch import Tensor, nn

from baselines.dspnet.bcma import ChannelAttention, banded_matrix
from baselines.dspnet.fspa import detail_prototypes, seeds_of, semantic_prototypes, steep_softmax
from baselines.dspnet.model import DSPNet
from baselines.ssl_alpnet import SSLALPNet
from fewshot.base.errors import UserError


def asked(model: DSPNet, support: Tensor, masks: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    return model.logits(support, masks, query, prepared=model.prepare(masks), branch="query")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_scores_equal_the_slow_form(case: str, training: bool) -> None:
    masks = torch.stack(CASES[case])
    model = learner(training, alpha_foreground=0.7, alpha_background=0.4)
    support, query = noise(len(masks), 6, 32, 32, seed=1), noise(2, 6, 32, 32, seed=2)
    found, defined = asked(model, support, masks, query)
    wanted = scores_by_hand(support, masks, query, 4 if training else 2, model.cls_unit.cal, (0.7, 0.4))
    assert bool(defined) and torch.allclose(found, wanted, atol=2e-4)


def test_scores_of_steep_features() -> None:
    """Dot products that differ by hundreds, as a trained encoder's do."""
    masks, model = torch.stack([disc(120, 130, 60)]), learner()
    support, query = 8 * noise(1, 6, 32, 32, seed=1), 8 * noise(1, 6, 32, 32, seed=2)
    found, _ = asked(model, support, masks, query)
    assert torch.allclose(
        found, scores_by_hand(support, masks, query, 2, model.cls_unit.cal, (0.2, 0.2)), atol=5e-4
    )


def test_alignment_has_no_seeds_and_uses_the_mask_as_it_is() -> None:
    mask, model = box(4, 28, 6, 30, side=32)[None], learner()
    support, query = noise(1, 6, 32, 32, seed=1), noise(3, 6, 32, 32, seed=2)
    found, _ = model.logits(support, mask, query, prepared={}, branch="alignment")
    wanted = scores_by_hand(support, mask, query, 4, model.cls_unit.cal, (0.2, 0.2), seeds=False)
    assert torch.allclose(found, wanted, atol=2e-4)


@pytest.mark.parametrize("case", ["two seeds", "no seeds", "no local prototypes", "two shots"])
def test_gradients_equal_the_slow_form(case: str) -> None:
    """Through A, M, the average of g and the matrix; the detail prototypes carry none."""
    masks, model = torch.stack(CASES[case]), learner(True, alpha_foreground=0.7, alpha_background=0.4)
    gradients = []
    for form in ("ours", "slow"):
        support = noise(len(masks), 6, 32, 32, seed=1).requires_grad_()
        query = noise(1, 6, 32, 32, seed=2).requires_grad_()
        if form == "ours":
            scores = asked(model, support, masks, query)[0]
        else:
            scores = scores_by_hand(support, masks, query, 4, model.cls_unit.cal, (0.7, 0.4))
        weight = noise(*scores.shape, seed=3)
        leaves = [support, query, model.cls_unit.cal]
        gradients.append(torch.autograd.grad((scores * weight).sum(), leaves))
    for ours, slow in zip(*gradients, strict=True):
        assert float((ours - slow).abs().max() / slow.abs().max()) < 1e-3


@pytest.mark.parametrize("counts", [None, [True, True, False], [False, False, False]])
def test_prototypes_differentiate_as_differences_say(counts: list[bool] | None) -> None:
    """Finite differences in double precision; the query moves the prototype through A alone."""
    support = noise(1, 3, 2, 3, seed=1).double().requires_grad_()
    query = noise(2, 3, 2, 3, seed=2).double().requires_grad_()
    masks = torch.tensor([[[1.0, 0.5, 0.0], [0.0, 1.0, 0.25]]]).double()
    details = None if counts is None else (noise(1, 3, 3, seed=3).double(), torch.tensor([counts]))

    def call(s: Tensor, q: Tensor) -> Tensor:
        return semantic_prototypes(s, masks, q, details)

    assert torch.autograd.gradcheck(call, (support, query))
    moved = torch.autograd.grad(call(support, query).square().sum(), query)[0]
    assert float(moved.abs().max()) > 1e-3


def test_fusion_asks_g_and_not_s() -> None:
    """Two positions (1,0) and (0,1), a query of the same: A = e/(e+1) on the diagonal, worked out by hand."""
    support = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    mask, centre = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[2.0, 0.0]]])
    found = semantic_prototypes(support, mask, support, (centre, torch.tensor([[True]])))
    # g_1 = (1.73105, 0.26894), g_2 its mirror: <g, c> = 3.46212, 0.53788; sigmoid(2.92423) = 0.94902
    assert torch.allclose(found, torch.tensor([[[1 + 2 * 0.94902, 0.0]]]), atol=1e-4)
    # without seeds the centre is g_1: <g, g_1> = 3.06888, 0.93112; sigmoid(2.13776) = 0.89452
    alone = semantic_prototypes(support, mask, support, None)
    assert torch.allclose(alone, torch.tensor([[[1 + 0.89452 * 1.73105, 0.89452 * 0.26894]]]), atol=1e-4)


def test_seeds_of_a_full_box_are_far_from_the_row_above_it() -> None:
    region = box(5, 17, 7, 27, side=32).numpy()  # 12 x 20: no background in its box
    # farthest from (-1, 0) of the box is its last corner; farthest from that is its first
    assert seeds_of(region).tolist() == [[16, 26], [5, 7]]


@pytest.mark.parametrize("case", ["disc", "two parts", "at the edge", "holes"])
def test_seeds_equal_the_slow_form(case: str) -> None:
    region = {
        "disc": disc(120, 130, 75)[::8, ::8],
        "two parts": (disc(60, 60, 40) | box(150, 250, 100, 240))[::8, ::8],
        "at the edge": box(0, 200, 0, 130)[::8, ::8] | disc(200, 200, 60)[::8, ::8],
        "holes": noise(32, 32, seed=4) > -1,
    }[case]
    found = seeds_of(region.numpy())
    assert len(found) > 1 and [tuple(seed) for seed in found.tolist()] == seeds_by_hand(region)


def test_what_lies_outside_the_box_is_no_background() -> None:
    """In its box the half-disc is deepest at the flat side, far from the corners; in the image it is not."""
    region = (disc(0, 128, 120) & box(0, 256, 0, 256))[::8, ::8].numpy()
    row, column = seeds_of(region)[0]
    assert row == 0 and abs(column - 16) <= 1


COUNTS = {0: 0, 1: 0, 149: 0, 150: 2, 250: 2, 251: 3, 350: 4, 450: 4, 451: 5, 1024: 5}


@pytest.mark.parametrize(("area", "count"), COUNTS.items())
def test_how_many_seeds(area: int, count: int) -> None:
    region = (torch.arange(1024).reshape(32, 32) < area).numpy()
    assert len(seeds_of(region)) == count


def test_prepare_stacks_shots_and_marks_what_is_a_seed() -> None:
    found = learner().prepare(torch.stack([disc(120, 130, 60), box(0, 0, 0, 0), box(16, 240, 16, 240)]))
    assert found["seeds"].shape == (3, 5, 2) and found["seeds"].dtype == torch.int64
    assert found["seeded"].sum(1).tolist() == [2, 0, 5]
    assert not found["seeds"][~found["seeded"]].any()


def test_clustering_of_two_points_by_hand() -> None:
    """One channel, points 0 and 10 side by side: after a round a centre lies between them, by exp(-d)."""
    features = torch.tensor([[[[0.0, 10.0]]]])
    prepared = {"seeds": torch.tensor([[[0, 0], [0, 1]]]), "seeded": torch.tensor([[True, True]])}
    centres, counts = detail_prototypes(features, torch.ones(1, 1, 2), prepared)
    assert counts.all()
    x = 0.0
    place = 0.0
    for _ in range(10):
        near = ((x / 10) ** 2 + (place / 10) ** 2) ** 0.5
        far = (((10 - x) / 10) ** 2 + ((1 - place) / 10) ** 2) ** 0.5
        share = 1 / (1 + float(torch.exp(torch.tensor(far - near))))
        x, place = 10 * share, share
    assert centres[0, :, 0].tolist() == pytest.approx([x, 10 - x], rel=1e-4)


def test_a_seed_outside_the_mask_starts_from_its_own_features() -> None:
    """A checkerboard of pixels on the 8-pixel grid: seeds, but no position that is all the class's."""
    mask = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    mask[0, ::8, ::8] = True
    support, query, model = noise(1, 6, 32, 32, seed=1), noise(1, 6, 32, 32, seed=2), learner()
    assert model.prepare(mask)["seeded"].all()
    found, _ = asked(model, support, mask, query)
    assert torch.equal(found[:, 1], torch.zeros(1, 32, 32))  # resized, the class is gone
    ring = mask.clone()
    ring[0, 100:140, 100:140] = True  # now there are points, and seeds both inside and outside of them
    found, _ = asked(model, support, ring, query)
    wanted = scores_by_hand(support, ring, query, 2, model.cls_unit.cal, (0.2, 0.2))
    assert torch.allclose(found, wanted, atol=2e-4)


@pytest.mark.parametrize("branch", ["query", "alignment"])
def test_an_empty_mask_scores_zero_with_finite_gradients(branch: Any) -> None:
    model = learner(True)
    support, query = (noise(1, 6, 32, 32, seed=n).requires_grad_() for n in (1, 2))
    mask = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    found, defined = model.logits(support, mask, query, prepared=model.prepare(mask), branch=branch)
    assert bool(defined) and torch.equal(found[:, 1], torch.zeros(1, 32, 32))
    gradients = torch.autograd.grad(found.sum(), [support, query, model.cls_unit.cal])
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_full_mask_is_undefined_and_finite() -> None:
    model, mask = learner(), torch.ones(1, SIDE, SIDE, dtype=torch.bool)
    found, defined = asked(model, noise(1, 6, 32, 32, seed=1), mask, noise(1, 6, 32, 32, seed=2))
    assert not bool(defined) and found.isfinite().all()


def test_a_shot_given_twice_changes_nothing_and_order_does_not_matter() -> None:
    model, query = learner(), noise(2, 6, 32, 32, seed=2)
    one, other = noise(2, 6, 32, 32, seed=1)
    a, b = disc(120, 130, 60), box(80, 200, 60, 180)
    alone, _ = asked(model, one[None], a[None], query)
    twice, _ = asked(model, torch.stack([one, one]), torch.stack([a, a]), query)
    assert torch.allclose(alone, twice, atol=1e-4)
    here, _ = asked(model, torch.stack([one, other]), torch.stack([a, b]), query)
    there, _ = asked(model, torch.stack([other, one]), torch.stack([b, a]), query)
    assert torch.allclose(here, there, atol=1e-4) and not torch.allclose(here, alone, atol=1e-2)


def test_the_matrix_multiplies_the_previous_channel_by_the_first_weight() -> None:
    wanted = [
        [1.0, 0.0, 0.0, 0.0],
        [0.3, 0.8, 0.1, 0.0],
        [0.0, 0.3, 0.8, 0.1],
        [0.0, 0.0, 0.0, 1.0],
    ]
    assert banded_matrix(4, (0.3, 0.8, 0.1)).tolist() == [pytest.approx(row) for row in wanted]
    cells = torch.tensor([[[1.0, 10.0, 100.0, 1000.0]]])
    (mixed,) = ChannelAttention(4, (0.3, 0.8, 0.1))(cells, (0.0,))
    assert mixed[0, 0].tolist() == pytest.approx([1.0, 0.3 + 8 + 10, 3 + 80 + 100, 1000.0])


def test_structure_counts_beside_the_diagonal_and_not_in_the_end_rows() -> None:
    """Tiny cells: M is 1/C everywhere: W = cal * (1 + alpha / C) inside, at the ends on the diagonal alone.

    Four shots of one cell, each a unit vector but for its size: the columns of W.
    """
    unit = ChannelAttention(4, (0.3, 0.8, 0.1))
    with torch.no_grad():
        unit.cal += 1.0
    (columns,) = unit(1e-4 * torch.eye(4)[:, None], (0.4,))
    weights = (1e4 * columns[:, 0]).T
    inside, end = 1 + 0.4 / 4, (1 + 0.4 / 4) * 2.0
    assert weights[1].tolist() == pytest.approx([1.3 * inside, 1.8 * inside, 1.1 * inside, 1.0])
    assert weights[0].tolist() == pytest.approx([end, 1.0, 1.0, 1.0])
    assert weights[3].tolist() == pytest.approx([1.0, 1.0, 1.0, end])


def test_each_alpha_moves_its_own_class_alone() -> None:
    masks, support, query = disc(120, 130, 60)[None], noise(1, 6, 32, 32, seed=1), noise(1, 6, 32, 32, seed=2)
    plain = asked(learner(alpha_foreground=0.2, alpha_background=0.2), support, masks, query)[0]
    for name, moved in (("alpha_background", 0), ("alpha_foreground", 1)):
        other = asked(learner(**{name: 0.9}), support, masks, query)[0]
        assert torch.equal(other[:, 1 - moved], plain[:, 1 - moved])
        assert not torch.allclose(other[:, moved], plain[:, moved], atol=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_without_its_modules_it_is_ssl_alpnet(case: str) -> None:
    masks, model = torch.stack(CASES[case]), learner(fspa=False, bcma=False)
    support, query = noise(len(masks), 6, 32, 32, seed=1), noise(2, 6, 32, 32, seed=2)
    plain = SSLALPNet(model.encoder).eval()
    wanted, _ = plain.logits(support, masks, query, prepared={}, branch="query")
    assert torch.allclose(asked(model, support, masks, query)[0], wanted, atol=1e-4)


def test_steep_softmax_is_softmax() -> None:
    values = torch.tensor([[0.0, 1.0, -3.0], [500.0, 499.0, -500.0]])
    assert torch.allclose(steep_softmax(values), values.softmax(-1), atol=1e-7)


def test_parameter_groups_cover_every_parameter_once_and_slow_the_matrix() -> None:
    model = learner()
    fast, slow = model.parameter_groups()
    assert (fast["rate"], slow["rate"]) == (1.0, 1e-4)
    assert len(slow["params"]) == 1 and slow["params"][0] is model.cls_unit.cal
    together = [id(p) for group in (fast, slow) for p in group["params"]]
    assert sorted(together) == sorted(id(p) for p in model.parameters())
    before = model.cls_unit.cal.detach().clone()
    recipe = model.recipe()
    groups = [{**group, "lr": recipe.learning_rate * group["rate"]} for group in (fast, slow)]
    optimiser = torch.optim.SGD(groups, lr=1e9, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1000.0)
    optimiser.step()
    wanted = before.double() - 1e-7 * (1000.0 + 5e-4 * before.double())
    assert torch.allclose(model.cls_unit.cal.double(), wanted, rtol=0, atol=2e-7)
    assert recipe.steps == 50_000


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"preset": "setting3"}, "give auto, setting1-abdomen, setting1-cmr, setting2-abdomen, released"),
        ({"w": (0.3, 0.8)}, "option w has 2 numbers; give three"),
        ({"alpha_foreground": -0.1}, "option alpha_foreground is -0.1; give a number from 0 on"),
        ({"threshold": 2.0}, "option threshold is 2.0"),
    ],
)
def test_bad_options_say_what_is_wanted(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        DSPNet.Options(**options)


def test_an_encoder_must_tell_its_channels() -> None:
    with pytest.raises(UserError, match="no attribute out_channels"):
        DSPNet(nn.Sequential(nn.Conv2d(1, 6, 8, stride=8)))


def test_another_stride_is_one_clear_line() -> None:
    features, mask = noise(1, 6, 64, 64), disc(120, 130, 60)[None]
    with pytest.raises(UserError, match="feature map of 64 x 64 for slices of 256 x 256, expected 32 x 32"):
        asked(learner(), features, mask, features)


@pytest.mark.parametrize("branch", ["query", "alignment"])
def test_shapes_never_depend_on_the_data(branch: Any) -> None:
    """Meta tensors hold no values: a boolean index, `.item()` or any other look at the data would raise."""
    model = learner().to("meta")
    masks = torch.zeros(3, SIDE, SIDE, dtype=torch.bool, device="meta")
    support, query = torch.zeros(3, 6, 32, 32, device="meta"), torch.zeros(2, 6, 32, 32, device="meta")
    prepared = {name: one.to("meta") for name, one in learner().prepare(torch.zeros(3, SIDE, SIDE)).items()}
    scores, defined = model.logits(support, masks, query, prepared=prepared, branch=branch)
    assert scores.shape == (2, 2, 32, 32) and defined.shape == ()
