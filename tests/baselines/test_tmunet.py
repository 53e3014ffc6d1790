"""TMUnet: parameter counts, targets, losses and variants of its facts; golden outputs at full width."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.pictures import scaled_pictures
from baselines.tmunet.context import Attention, DependencyMap, PatchTransformer
from baselines.tmunet.losses import boundary_loss, boundary_of, context_loss, mask_loss, weak_annotation
from baselines.tmunet.model import TMUnet, TMUnetOptions, clean_mask
from baselines.tmunet.network import Trunk
from baselines.tmunet.on_support import TMUnetOnSupport, TMUnetOnSupportOptions
from baselines.tmunet.published_names import published_state
from fewshot.base.errors import UserError
from fewshot.base.types import LabelledBatch, Support

SQUARE = torch.zeros(1, 1, 256, 256)
SQUARE[:, :, 64:128, 64:128] = 1


def small(classes: int = 1, **options: object) -> TMUnet:
    chosen = TMUnetOptions(side=32, width=0.02, **options)  # type: ignore[arg-type]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TMUnet(Trunk("resnet18-w8", 0), chosen, tuple("abc"[:classes]))


def batch(classes: int = 1) -> LabelledBatch:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, 32, 32, generator=generator)
    masks = torch.zeros(2, classes, 32, 32, dtype=torch.bool)
    masks[0, :, 8:20, 8:20] = True
    return LabelledBatch(images, masks)


def test_targets_of_a_square() -> None:
    assert boundary_of(SQUARE).sum() == 70**2 - 64**2
    assert weak_annotation(SQUARE).sum() == 16 and weak_annotation(SQUARE).shape == (1, 256, 1)
    assert not weak_annotation(torch.zeros(1, 1, 32, 32)).any()


def test_loss_of_a_square_at_one_half() -> None:
    half = torch.full((1, 1, 256, 256), 0.5)
    context = context_loss(torch.full((1, 257, 1), 0.5), SQUARE)
    assert context.item() == 0.25
    total = 0.7 * mask_loss(half, SQUARE, 1.0) + 0.1 * context + 0.2 * boundary_loss(half, SQUARE)
    assert total.item() == pytest.approx(0.648833, abs=1e-6)


def test_published_attention_divides_after_the_softmax() -> None:
    torch.manual_seed(0)
    for after, total in ((True, 1 / math.sqrt(64)), (False, 1.0)):
        layer = Attention(64, after)
        with torch.no_grad():
            layer.qkv.bias.zero_()
            layer.qkv.bias.view(8, 8, 3)[:, :, 2] = 1  # every value is 1, so the sum of the weights comes out
            layer.qkv.weight.view(8, 8, 3, 64)[:, :, 2] = 0
            layer.projection.weight.copy_(torch.eye(64))
            layer.projection.bias.zero_()
        assert torch.allclose(layer(torch.randn(1, 5, 64)), torch.full((1, 5, 64), total), atol=1e-6)


def test_the_published_map_paints_the_class_token() -> None:
    tokens = torch.arange(5.0).reshape(1, 5, 1).expand(1, 5, 8)
    for drop, first, count in ((False, 0.0, 5), (True, 1.0, 4)):
        _beta, gamma, coefficients = DependencyMap(8, 2, drop).eval()(tokens)
        assert gamma.shape == (1, 1, 32, 32) and coefficients.shape == (1, count, 1)
        assert gamma[0, 0, 0, 0] == pytest.approx(1 / (1 + math.exp(-first)))
        assert gamma[0, 0, 16, 0] == pytest.approx(1 / (1 + math.exp(-first - 2)))


def test_patches_lie_row_by_row() -> None:
    transformer = PatchTransformer(32, 32, True).eval()
    picture = torch.zeros(1, 3, 32, 32)
    seen: list[torch.Tensor] = []
    transformer.embedding.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    picture[:, :, :16, 16:] = 7
    transformer(picture)
    assert [float(patch.max()) for patch in seen[0]] == [0.0, 7.0, 0.0, 0.0]


@pytest.mark.parametrize("variant", ["published", "corrected"])
def test_a_picture_without_foreground(variant: str) -> None:
    learner = small(2, variant=variant)
    result = learner.loss(batch(2))
    assert bool(result.defined) and int(result.skipped) == (variant == "published")
    result.total.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        empty = LabelledBatch(torch.rand(1, 1, 32, 32), torch.zeros(1, 2, 32, 32, dtype=torch.bool))
        assert bool(small(2, variant=variant).eval().loss(empty).defined) == (variant == "corrected")


def test_ablations_leave_modules_out() -> None:
    sizes = {}
    for label, texts in TMUnet.ablations.items():
        learner = small(**{name: text == "true" for name, text in texts.items()})
        sizes[label] = sum(parameter.numel() for parameter in learner.parameters())
        with torch.inference_mode():
            assert learner.eval().class_probabilities(torch.rand(2, 1, 48, 48)).shape == (2, 1, 48, 48)
    assert sizes["full"] > sizes["no boundary"] and sizes["no transformer"] > sizes["neither"]


def test_pictures_are_scaled_by_their_own_extremes() -> None:
    images = torch.stack([torch.linspace(-3, 5, 64).reshape(1, 8, 8), torch.full((1, 8, 8), 2.0)])
    pictures = scaled_pictures(images, 8, "tmunet", 255)
    assert pictures.shape == (2, 3, 8, 8) and pictures[0].min() == 0 and pictures[0].max() == 255
    assert not pictures[1].any()
    with pytest.raises(UserError, match="found 2"):
        scaled_pictures(torch.zeros(1, 2, 8, 8), 8, "tmunet", 255)


def test_masks_are_opened_and_filled() -> None:
    mask = np.zeros((40, 40), dtype=bool)
    mask[5:30, 5:30] = True
    mask[15:18, 15:18] = False
    mask[35, 35] = True
    cleaned = clean_mask(mask, 6)
    assert cleaned[16, 16] and not cleaned[35, 35] and not cleaned[2, 2]


def test_a_published_file_loads_strictly(tmp_path: Path) -> None:
    learner, other = small(), small()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    state = published_state(other)
    assert {"input_block.0.weight", "transformer.0.cls_token", "se.fc.0.weight"} <= state.keys()
    torch.save({"model_weights": state, "val_loss": 0.1}, tmp_path / "file.model")
    learner.load_published(tmp_path / "file.model")
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in learner.state_dict().items())
    state.pop("se.fc.0.weight")
    torch.save({"model_weights": state}, tmp_path / "file.model")
    with pytest.raises(UserError, match="1 missing"):
        learner.load_published(tmp_path / "file.model")


@pytest.mark.slow
def test_golden_outputs_at_full_width(shared: Path) -> None:
    from protocols.conformance.parts import tmunet

    found = list(tmunet.check(shared / "other_systems"))
    assert len(found) >= 4 and all(quantity.ok for quantity in found), found


@pytest.mark.parametrize(
    "name", ["resnet18-w4", "resnet18-w12", "resnet18-w128", "resnet18-wide", "resnet18-w08"]
)
def test_a_width_that_torch_cannot_train_everywhere_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="expected one of 8, 16, 24, 32, 40, 48, 56, 64 channels after -w"):
        Trunk(name, 0)


def test_a_network_fitted_to_its_support_is_stateless() -> None:
    options = TMUnetOnSupportOptions(
        side=32, width=0.02, encoder="resnet18-w8", steps=12, learning_rate=1e-2, opening=0
    )
    masks = torch.zeros(1, 32, 32, dtype=torch.bool)
    masks[0, 8:24, 8:24] = True
    images = masks.float()[:, None] + 0.1
    first, second = Support(images, masks), Support(images * 0.5, ~masks)
    learner = TMUnetOnSupport(options)
    before = learner.segment(first, images)
    learner.segment(second, images)
    assert torch.equal(learner.segment(first, images), before)
    assert torch.equal(TMUnetOnSupport(options).segment(first, images), before)
    untrained = TMUnetOnSupport(dataclasses.replace(options, steps=0)).segment(first, images)
    assert not torch.equal(untrained, before)
