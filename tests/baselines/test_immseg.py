"""I-MMSeg: counts, losses, attention and heads of its facts; sequences left out; the schedule; bad input."""

from __future__ import annotations

import pytest
import torch

from baselines.immseg.augmentation import augment, intensity
from baselines.immseg.losses import class_labels, contrast, dice_loss, segmentation_loss
from baselines.immseg.model import IMMSeg, IMMSegOptions, OwnEncoders
from baselines.immseg.network import IMMSegNetwork
from baselines.immseg.parts import (
    ClassModulation,
    DynamicHead,
    Gate,
    cosine_magnitudes,
    cross_attention,
    dynamic_logits,
)
from baselines.immseg.sentences import with_prior
from fewshot.base.errors import UserError
from fewshot.base.types import LabelledBatch
from fewshot.learners.recipe import Recipe


def small(**options: object) -> IMMSeg:
    chosen = IMMSegOptions(**{"side": 32, "width": 1 / 16, "epoch_steps": 1, **options})  # type: ignore[arg-type]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return IMMSeg(OwnEncoders("immseg"), chosen, ("myocardium", "scar", "edema"))


def batch(channels: int = 3) -> LabelledBatch:
    images = torch.rand(2, channels, 32, 32, generator=torch.Generator().manual_seed(1))
    masks = torch.zeros(2, 3, 32, 32, dtype=torch.bool)
    masks[0, 0, 4:12, 4:12] = masks[0, 1, 16:24, 4:12] = masks[1, 2, 4:20, 20:30] = True
    return LabelledBatch(images, masks)


def test_parameters_of_each_module_at_full_width() -> None:
    with torch.device("meta"):
        network = IMMSegNetwork(3, 4, (8, 8), 1.0, True)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    assert count.pop("dropout") == 0
    assert count == {
        "encoders": 3 * 11_894_848, "text_to_vision": 131_328, "pooled": 3 * 262_400, "spatial": 3 * 147_776,
        "mixes": 3 * 3_147_776, "decoders": 3 * 8_566_848, "class_text": 131_328, "reducers": 3 * 196_706,
        "text_to_weight": 73_920, "blend": 3 * 10_336, "modulations": 3 * 264, "heads": 3 * 228_349,
        "embeds": 3 * 254_848, "row_text": 131_328 + 65_664 + 32_832, "feature_fusion": 996_992,
        "output_fusion": 800, "fused_head": 228_349,
    }  # fmt: skip
    unused = 8_566_848 + 228_349 + 254_848 + 4 * 580  # a decoder, a head, an embedding and four 3x3 heads
    assert unused == 9_052_365 and sum(count.values()) == 75_922_994
    assert sum(count.values()) + unused == 84_975_359
    assert len(network.state_dict()) + 54 + 18 + 12 + 8 == 934


def test_losses_of_zero_logits_and_of_a_perfect_prediction() -> None:
    target = torch.zeros(2, 8, 8, dtype=torch.long)
    target[:, :4, :4], target[:, 4:, 4:] = 1, 2
    zero = torch.zeros(2, 4, 8, 8)
    assert dice_loss(zero, target).item() == pytest.approx(0.619444, abs=1e-6)
    assert segmentation_loss(zero, target).item() == pytest.approx(0.772814, abs=1e-6)
    perfect = 100.0 * torch.nn.functional.one_hot(target, 4).movedim(-1, 1)
    assert dice_loss(perfect, target).item() == pytest.approx(0, abs=1e-6)


def test_contrast_of_four_rows() -> None:
    eye, labels = torch.eye(4), torch.tensor([0, 0, 1, 1])
    assert contrast(eye, labels).item() == pytest.approx(1.098601, abs=1e-6)
    aligned = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    assert contrast(aligned, labels).item() == pytest.approx(1.2e-6, abs=1e-7)
    assert contrast(aligned, torch.tensor([0, 1, 0, 1])).item() == pytest.approx(14.285572, abs=1e-5)
    assert class_labels(8, 4).tolist() == [0, 1, 2, 3, 0, 1, 2, 3] and class_labels(4, 4).tolist() == [
        0,
        1,
        2,
        3,
    ]


def test_attention_moves_own_features_alone() -> None:
    own, other = torch.eye(2)[None], torch.tensor([[[1.0, 1], [0, 1]]])
    cosines = cosine_magnitudes(own.transpose(1, 2), other.transpose(1, 2))[0]
    assert torch.allclose(cosines, torch.tensor([[1, 0.70710678], [0, 0.70710678]]))
    mixed = cross_attention(own[..., None], other[..., None])[0, :, :, 0]
    assert torch.allclose(mixed, torch.tensor([[0.572704, 0.330238], [0.427296, 0.669762]]), atol=1e-6)


def test_modulation_dynamic_head_and_gate() -> None:
    layer = ClassModulation(1, 4)
    with torch.no_grad():
        layer.linear.bias.copy_(torch.arange(8.0))
        layer.linear.weight.zero_()
    for value, expected in ((0.0, [1, 3, 5, 7]), (1.0, [2, 6, 10, 14])):
        found = layer(torch.zeros(1, 1), torch.full((4, 1), value))
        assert found.flatten().tolist() == expected
    logits = dynamic_logits(torch.ones(1, 4, 2, 2), (0.1 * torch.arange(25)).expand(1, 4, 25))
    assert logits.shape == (1, 4, 2, 2) and torch.allclose(logits, torch.tensor(39.3))
    values = Gate(8, 8, 8).eval()(100 * torch.randn(64, 8, generator=torch.Generator().manual_seed(0)))
    assert values.min().item() == pytest.approx(0.4576, abs=1e-3) and values.max() <= 1
    assert sum(p.numel() for p in DynamicHead(64, 256).parameters()) == 228_349


@pytest.mark.parametrize(("names", "classes"), [(("image",), 1), (("a", "b"), 4)])
def test_any_number_of_sequences_and_classes(names: tuple[str, ...], classes: int) -> None:
    options = IMMSegOptions(side=48, width=1 / 16, sequences=names)
    learner = IMMSeg(OwnEncoders("immseg"), options, tuple("abcd"[:classes])).eval()
    with torch.inference_mode():
        masks = learner.class_probabilities(torch.rand(2, len(names), 40, 40))
    assert masks.shape == (2, classes, 40, 40) and masks.sum(dim=1).max() <= 1


@pytest.mark.parametrize("variant", ["published", "corrected"])
def test_losses_begin_at_their_epochs(variant: str) -> None:
    learner = small(variant=variant).train()
    for step, heads, likeness, fused in ((0, 1.0, 0.0, 0.0), (30, 1.0, 0.1, 0.0), (100, 0.5, 0.05, 1.0)):
        learner.begin_step(step)
        result = learner.loss(batch())
        parts = result.parts
        assert (parts["contrast"] > 0) == (likeness > 0)
        total = heads * parts["heads"] + likeness * parts["contrast"] + fused * parts["fused"]
        assert result.total.item() == pytest.approx(total.item(), rel=1e-5)
    result.total.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in learner.network.parameters())


def test_corrected_modulation_reads_each_slice_alone() -> None:
    images = batch().images
    for variant, equal in (("published", False), ("corrected", True)):
        learner = small(variant=variant)
        network = learner.network.eval()
        network.dropout.eval()
        network.training = True  # the heads of sequences, with BatchNorm and dropout as in evaluation
        pair, one = (learner._outputs(learner.pictures(each)) for each in (images, images[:1]))
        assert torch.allclose(pair.heads[0][:1], one.heads[0], atol=1e-5) == equal
        assert torch.allclose(pair.fused[:1], one.fused, atol=1e-5)


def test_a_batch_without_contrasted_classes_has_no_contrast() -> None:
    learner = small(left_out=("LGE", "T2w"), augmentation=False)
    learner.begin_step(50)
    masks = torch.zeros(2, 3, 32, 32, dtype=torch.bool)
    masks[:, 1] = True  # scar alone, which the contrast of bSSFP leaves out
    assert learner.loss(LabelledBatch(batch().images, masks)).parts["contrast"] == 0


def test_a_sequence_left_out_is_not_seen() -> None:
    learner = small(left_out=("LGE",)).eval()
    images, changed = batch().images, batch().images
    changed[:, 1] = 0
    with torch.inference_mode():
        assert torch.equal(learner(images).fused, learner(changed).fused)
        changed[:, 0, :16] = 0
        assert not torch.equal(learner(images).fused, learner(changed).fused)


def test_priors_are_true_shuffled_or_constant() -> None:
    vectors = torch.arange(6.0).reshape(3, 2)
    assert torch.equal(with_prior(vectors, "shuffled"), vectors[[1, 2, 0]])
    assert torch.equal(with_prior(vectors, "constant"), torch.tensor([2.0, 3.0]).expand(3, 2))
    assert not torch.equal(small().modality_text[0], small(prior="shuffled").modality_text[0])


def test_published_gamma_reads_unit_values_as_bytes() -> None:
    one = torch.ones(1)
    assert intensity(one, 1.0, 0.8, True).item() == pytest.approx(3.03, abs=0.01)
    assert intensity(one, 1.0, 1.2, True).item() == pytest.approx(0.33, abs=0.01)
    assert intensity(one, 1.0, 0.8, False).item() == 1
    pictures, target = torch.rand(4, 3, 16, 16), torch.randint(0, 4, (4, 16, 16))
    first, again = (augment(pictures, target, 7, False) for _ in range(2))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert first[0].min() >= 0 and first[0].max() <= 1 and not torch.equal(first[0], pictures)


def test_the_rate_falls_to_zero() -> None:
    recipe = Recipe(steps=100, learning_rate=1e-3, decay=0.9, decay_every=0)
    assert recipe.rate_after(0) == 1e-3 and recipe.rate_after(100) == 0
    assert recipe.rate_after(50) == pytest.approx(1e-3 * 0.5**0.9)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"side": 40}, "multiple of 16"), ({"left_out": ("T1",)}, "T1"), ({"width": 0.0}, "width"),
        ({"left_out": ("bSSFP", "LGE", "T2w")}, "at least one"), ({"sequences": ("a", "a")}, "different"),
        ({"modality_sentences": "one|two"}, "expected 3"), ({"text": "missing.npz"}, "no .npz file"),
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_stops(options: dict[str, object], text: str) -> None:
    with pytest.raises(UserError, match=text):
        small(**options)


def test_other_channels_than_named_stop() -> None:
    with pytest.raises(UserError, match="found 1 channels, expected 3"):
        small().loss(batch(1))
    with pytest.raises(UserError, match="--encoder immseg"):
        IMMSeg.new_encoder("resnet50", 0)


@pytest.mark.slow
def test_reference_outputs_of_the_encoder() -> None:
    from places import GOLDEN

    from protocols.conformance.systems import immseg

    found = list(immseg.check_file(GOLDEN / "immseg" / "outputs.json", "golden"))
    assert len(found) == 2 + 4 and all(quantity.ok for quantity in found), found
