"""SSL-ALPNet against an independent form that picks prototypes by boolean index, and its empty cases."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.ssl_alpnet import SSLALPNet
from fewshot.base.errors import UserError
from fewshot.base.types import Episode, Support
from fewshot.learners.options import options_from

SIDE = 64  # pixels; features of 32 x 32 cells come from an encoder of stride 2


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def box(*edges: int, side: int = SIDE) -> Tensor:
    """A mask (side, side) that is True in rows edges[0]:edges[1] and columns edges[2]:edges[3]."""
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[edges[0] : edges[1], edges[2] : edges[3]] = True
    return mask


def learner(*, training: bool = False) -> SSLALPNet:
    encoder = nn.Conv2d(1, 16, 2, stride=2)
    with torch.no_grad():
        encoder.weight.copy_(noise(16, 1, 2, 2, seed=5))
        encoder.bias.copy_(noise(16, seed=6))  # type: ignore[union-attr]
    return SSLALPNet(encoder).train(training)


def scores_by_hand(support: Tensor, masks: Tensor, query: Tensor, window: int) -> Tensor:
    """The method as the paper tells it, with lists of prototypes; (Q,2,h,w)."""
    small = F.interpolate(
        masks[:, None].float(), size=support.shape[-2:], mode="bilinear", align_corners=False
    )
    rows = []
    for class_mask, is_foreground in ((1 - small, False), (small, True)):
        globals_ = [(f * m).sum((1, 2)) / (m.sum() + 1e-5) for f, m in zip(support, class_mask, strict=True)]
        pooled = F.avg_pool2d(support, window).permute(0, 2, 3, 1).reshape(-1, support.shape[1])
        share = F.avg_pool2d(class_mask, window).reshape(-1)
        prototypes = list(pooled[share > 0.95])
        if is_foreground:
            large = F.avg_pool2d(class_mask, 4).max() >= 0.95
            prototypes = prototypes + globals_ if large else [torch.stack(globals_).mean(0)]
        d = 20 * F.cosine_similarity(query[:, None], torch.stack(prototypes)[None, :, :, None, None], dim=2)
        rows.append((d.softmax(1) * d).sum(1))
    return torch.stack(rows, 1)


CASES = {
    "large": [box(10, 50, 8, 40)],
    "tiny": [box(30, 33, 30, 33)],
    "one pixel": [box(30, 31, 30, 31)],
    "three shots": [box(10, 50, 8, 40), box(12, 40, 20, 44), box(20, 24, 20, 24)],
    "three small shots": [box(10, 13, 8, 11), box(12, 15, 20, 23), box(20, 24, 20, 24)],
    "a shot without the class": [box(10, 50, 8, 40), box(0, 0, 0, 0)],
    "two pixel wide": [box(10, 50, 8, 11)],
    "a window but no more": [box(16, 24, 16, 24)],
}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_scores_equal_the_listed_prototypes(case: str, training: bool) -> None:
    masks = torch.stack(CASES[case])
    support, query = noise(len(masks), 16, 32, 32, seed=1), noise(2, 16, 32, 32, seed=2)
    found, defined = learner(training=training).logits(support, masks, query, prepared={}, branch="query")
    assert bool(defined)
    wanted = scores_by_hand(support, masks, query, window=4 if training else 2)
    assert torch.allclose(found, wanted, atol=1e-4)


def test_alignment_uses_the_training_window_and_the_mask_as_it_is() -> None:
    mask = box(4, 20, 6, 22, side=32)[None]
    support, query = noise(1, 16, 32, 32, seed=1), noise(3, 16, 32, 32, seed=2)
    found, _ = learner(training=False).logits(support, mask, query, prepared={}, branch="alignment")
    assert torch.allclose(found, scores_by_hand(support, mask, query, window=4), atol=1e-4)


def test_one_window_of_foreground_switches_the_mode() -> None:
    """4 x 4 feature cells of the mask must reach 0.95: one pixel less than 8 x 8 of a 64 x 64 slice does."""
    model, query = learner(), noise(1, 16, 32, 32, seed=2)
    support = noise(1, 16, 32, 32, seed=1)
    almost, less = box(16, 24, 16, 24), box(16, 24, 16, 24)
    almost[16, 16] = False  # 63/64 = 0.984
    less[16, 16:20] = False  # 60/64 = 0.9375
    for mask, local in ((almost, True), (less, False)):
        found, _ = model.logits(support, mask[None], query, prepared={}, branch="query")
        small = F.interpolate(mask[None, None].float(), size=(32, 32), mode="bilinear", align_corners=False)
        average = (support * small).sum((2, 3)) / (small.sum() + 1e-5)
        alone = 20 * F.cosine_similarity(query, average[:, :, None, None], dim=1)
        assert torch.allclose(found[:, 1], alone, atol=1e-4) is not local


def test_full_mask_is_undefined_and_answered_by_the_global_background() -> None:
    """No cell is background: `defined` is False and the scores are finite."""
    support, query = noise(1, 16, 32, 32, seed=1), noise(2, 16, 32, 32, seed=2)
    mask = torch.ones(1, SIDE, SIDE, dtype=torch.bool)
    mask[0, ::8, ::8] = False  # holes too small to make any cell background
    found, defined = learner().logits(support, mask, query, prepared={}, branch="query")
    assert not bool(defined)
    small = F.interpolate(mask[None].float(), size=(32, 32), mode="bilinear", align_corners=False)
    average = (support * (1 - small)).sum((2, 3)) / ((1 - small).sum() + 1e-5)
    alone = 20 * F.cosine_similarity(query, average[:, :, None, None], dim=1)
    assert torch.allclose(found[:, 0], alone, atol=1e-4)


def test_without_any_background_its_score_is_zero() -> None:
    support, query = noise(1, 16, 32, 32, seed=1), noise(1, 16, 32, 32, seed=2)
    mask = torch.ones(1, SIDE, SIDE, dtype=torch.bool)
    found, defined = learner().logits(support, mask, query, prepared={}, branch="query")
    assert not bool(defined)
    assert torch.equal(found[:, 0], torch.zeros(1, 32, 32)) and found.isfinite().all()


def test_empty_mask_gives_a_foreground_score_of_zero() -> None:
    support, query = noise(1, 16, 32, 32, seed=1), noise(1, 16, 32, 32, seed=2)
    mask = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    found, defined = learner().logits(support, mask, query, prepared={}, branch="query")
    assert bool(defined)
    assert torch.equal(found[:, 1], torch.zeros(1, 32, 32)) and found.isfinite().all()


def episode(*masks: Tensor, query_mask: Tensor, seed: int = 0) -> Episode:
    """An episode whose class is brighter than the rest, so that the query's argmax has both classes."""
    support_masks, query_masks = torch.stack(masks)[None], query_mask[None, None]
    return Episode(
        (2 * support_masks - 1 + 0.3 * noise(*support_masks.shape, seed=seed))[:, :, None],
        support_masks,
        (2 * query_masks - 1 + 0.3 * noise(*query_masks.shape, seed=seed + 1))[:, :, None],
        query_masks,
    )


def test_loss_by_hand() -> None:
    """Both branches from the listed prototypes, with two shots."""
    model = learner(training=True)
    masks, truth = [box(10, 50, 8, 40), box(12, 40, 20, 44)], box(14, 44, 12, 44)
    asked = episode(*masks, query_mask=truth)
    support = model.encoder(asked.support_images[0])
    query = model.encoder(asked.query_images[0])
    scores = scores_by_hand(support, torch.stack(masks), query, window=4)
    up = F.interpolate(scores, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    negative = -up.log_softmax(1)
    weight = torch.where(truth, 1.0, 0.05)
    query_loss = (torch.where(truth, negative[0, 1], negative[0, 0]) * weight).sum() / weight.sum()
    predicted = scores[:, 1] > scores[:, 0]
    assert 0.1 < predicted.float().mean() < 0.9
    alignment = torch.zeros(())
    for shot, mask in zip(support, masks, strict=True):
        back = scores_by_hand(query, predicted, shot[None], window=4)
        up = F.interpolate(back, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        alignment = alignment + F.cross_entropy(up, mask[None].long()) / len(masks)
    result = model.loss(asked)
    assert bool(result.defined) and int(result.skipped) == 0
    assert result.parts["query"].item() == pytest.approx(query_loss.item(), rel=1e-4)
    assert result.parts["alignment"].item() == pytest.approx(alignment.item(), rel=1e-4)
    assert result.total.item() == pytest.approx((query_loss + alignment).item(), rel=1e-4)


class _Recorder(nn.Module):
    """An encoder that lets a test see the gradient of its output."""

    def forward(self, images: Tensor) -> Tensor:
        self.features = (images * noise(1, 16, 1, 1, seed=9))[:, :, ::2, ::2].requires_grad_()
        return self.features


@pytest.mark.parametrize("part", ["query", "alignment"])
def test_gradient_reaches_support_and_query_through_each_branch(part: str) -> None:
    encoder = _Recorder()
    result = SSLALPNet(encoder).train().loss(episode(box(10, 50, 8, 40), query_mask=box(14, 44, 12, 44)))
    (gradient,) = torch.autograd.grad(result.parts[part], encoder.features)
    assert gradient.isfinite().all()
    assert gradient[0].abs().max() > 0 and gradient[1].abs().max() > 0


def test_undefined_episode_is_flagged_and_leaves_no_gradient() -> None:
    model = learner(training=True)
    full = torch.ones(SIDE, SIDE, dtype=torch.bool)
    result = model.loss(episode(full, query_mask=box(14, 44, 12, 44)))
    assert not bool(result.defined) and int(result.skipped) == 1
    result.total.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_undefined_alignment_branch_skips_the_episode() -> None:
    """The query is called foreground everywhere, so the way back has no background."""

    class Everything(SSLALPNet):
        def logits(self, *args: Any, prepared: Any, branch: Any) -> tuple[Tensor, Tensor]:
            scores, defined = super().logits(*args, prepared=prepared, branch=branch)
            lift = torch.tensor([0.0, 100.0])[None, :, None, None]
            return (scores + lift, defined) if branch == "query" else (scores, defined)

    result = (
        Everything(learner().encoder)
        .train()
        .loss(episode(box(10, 50, 8, 40), query_mask=box(14, 44, 12, 44)))
    )
    assert not bool(result.defined)


def test_a_batch_is_the_mean_of_its_defined_episodes() -> None:
    """The toy encoder has no batch statistics, so episodes don't touch each other."""
    model = learner(training=True)
    full = torch.ones(SIDE, SIDE, dtype=torch.bool)
    single = [
        episode(box(10, 50, 8, 40), query_mask=box(14, 44, 12, 44), seed=0),
        episode(full, query_mask=box(14, 44, 12, 44), seed=10),
        episode(box(5, 30, 8, 40), query_mask=box(4, 34, 12, 44), seed=20),
    ]
    batch = Episode(
        *(
            torch.cat([getattr(one, field) for one in single])
            for field in ("support_images", "support_masks", "query_images", "query_masks")
        )
    )
    first, _, third = (model.loss(one).total.item() for one in single)
    result = model.loss(batch)
    assert bool(result.defined) and int(result.skipped) == 1
    assert result.total.item() == pytest.approx((first + third) / 2, rel=1e-5)


def test_segment_finds_a_bright_square() -> None:
    """Foreground and background differ in the features alone; the answer is the square."""
    model, square, moved = learner(), box(16, 48, 16, 48), box(8, 40, 20, 52)
    images = torch.stack([square, moved]).float()[:, None] * 4 - 2 + 0.05 * noise(2, 1, SIDE, SIDE)
    probability = model.segment(Support(images[:1], square[None]), images[1:])
    found = probability[0] > 0.5
    overlap = 2 * (found & moved).sum() / (found.sum() + moved.sum())
    assert probability.shape == (1, SIDE, SIDE) and overlap > 0.97


def test_options_are_typed_and_checked() -> None:
    options = options_from(SSLALPNet.Options, {"threshold": "0.9", "evaluation_window": "4"})
    assert dataclasses.asdict(options) == {
        "threshold": 0.9, "evaluation_window": 4, "training_grid": 8, "mode_window": 4, "scale": 20.0,
    }  # fmt: skip
    with pytest.raises(UserError, match="between 0 and 1"):
        options_from(SSLALPNet.Options, {"threshold": "1.5"})
    with pytest.raises(UserError, match="training_grid is 0"):
        options_from(SSLALPNet.Options, {"training_grid": "0"})


def test_too_small_a_feature_map_is_one_clear_line() -> None:
    features = noise(1, 16, 6, 6)
    with pytest.raises(UserError, match="feature map of 6 x 6 is too small"):
        learner(training=True).logits(
            features, box(2, 4, 2, 4, side=48)[None], features, prepared={}, branch="query"
        )


@pytest.mark.parametrize("branch", ["query", "alignment"])
def test_shapes_never_depend_on_the_data(branch: Any) -> None:
    """Meta tensors hold no values: a boolean index, `.item()` or any other look at the data would raise."""
    masks = torch.zeros(3, SIDE, SIDE, dtype=torch.bool, device="meta")
    support, query = torch.zeros(3, 16, 32, 32, device="meta"), torch.zeros(2, 16, 32, 32, device="meta")
    scores, defined = learner().logits(support, masks, query, prepared={}, branch=branch)
    assert scores.shape == (2, 2, 32, 32) and defined.shape == ()
