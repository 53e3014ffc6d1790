"""MPTPN: counts, losses, filler and layouts of its facts; variants, words, golden outputs, resume."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from baselines.mptpn.layers import Expand, Merge, PixelAttention
from baselines.mptpn.losses import cross_entropy, dice_loss
from baselines.mptpn.model import MPTPN, MPTPNOptions, NamedPromptEncoder
from baselines.mptpn.network import PromptDecoder, PromptEncoder
from baselines.mptpn.text import BertText, CachedText, HashText, with_filler, words_of
from fewshot.base.errors import UserError
from fewshot.base.types import LabelledBatch
from fewshot.learners.recipe import Recipe
from fewshot.training.loop import train

NAME = "ppe-s32-c8-d16"


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def small(classes: int = 1, name: str = NAME, **options: object) -> MPTPN:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        chosen = MPTPNOptions(**options)  # type: ignore[arg-type]
        return MPTPN(NamedPromptEncoder(name, 0), chosen, tuple("abc"[:classes]))


def batch(step: int = 0, classes: int = 1) -> LabelledBatch:
    generator = torch.Generator().manual_seed(step)
    images = torch.rand(2, 1, 32, 32, generator=generator)
    masks = torch.rand(2, classes, 32, 32, generator=generator) > 0.7
    return LabelledBatch(images, masks, "made", ("The bright cells are marked.", "dark"))


def test_parameter_counts_at_full_width() -> None:
    with torch.device("meta"):
        encoder, decoder = PromptEncoder(224), PromptDecoder()
    parts = {name: size(part) for name, part in encoder.named_children()}
    levels = [1_148_837, 1_402_373, 2_388_677]
    assert [parts[name] for name in ("inc", "down1", "down2")] == [1_920, 221_952, 886_272]
    assert [parts[f"downVit{level}"] for level in ("", 1, 2)] == levels
    assert [parts[f"upVit{level}"] for level in ("", 1, 2)] == levels
    assert [parts[f"reconstruct{level}"] for level in (1, 2, 3)] == [4_288, 16_768, 66_304]
    assert [parts[f"text_module{level}"] for level in (4, 3, 2, 1)] == [1_180_160, 393_472, 98_432, 24_640]
    assert size(encoder) == 12_773_982 and len(encoder.state_dict()) == 304
    parts = {name: size(part) for name, part in decoder.named_children()}
    assert (parts["up4"], parts["up3"], parts["outc"]) == (5_753_503, 1_439_071, 193)
    assert (parts["merge1"], parts["merge2"]) == (33_280, 132_096)
    assert (parts["expand2"], parts["expand3"]) == (2_112, 8_320)
    assert size(decoder) == 7_616_255 and len(decoder.state_dict()) == 76


def test_losses_of_the_facts() -> None:
    p, t = torch.tensor([[[[0.9, 0.2], [0.4, 0.6]]]]), torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    assert dice_loss(p, t).item() == pytest.approx(0.109791, abs=1e-6)
    assert cross_entropy(p, t).item() == pytest.approx(0.337539, abs=1e-6)
    half, front = torch.full((1, 1, 224, 224), 0.5), torch.zeros(1, 1, 224, 224)
    assert (0.5 * cross_entropy(half, front) + 0.5 * dice_loss(half, front)).item() == pytest.approx(0.673287)
    front[:, :, :112] = 1
    assert (0.5 * cross_entropy(half, front) + 0.5 * dice_loss(half, front)).item() == pytest.approx(0.513240)


def test_filler_and_words() -> None:
    lengths = [len(with_filler(" ".join("w" * n)).split()) for n in (5, 8, 9, 12)]
    assert lengths == [13, 10, 9, 12]
    assert words_of("The nuclei, dense.") == ["the", "nuclei", ",", "dense", "."]
    text = HashText(4)
    few, many = text("one " * 9), text("one " * 30)
    assert few.shape == many.shape == (10, 4)
    assert not few[9].any() and np.array_equal(few[:9], many[:9])
    assert text("").any() and np.array_equal(HashText(4)("A b"), text("a B"))


def test_merge_and_expand_layouts() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert Merge.gather(x)[0, 0, 1].tolist() == [2, 6, 3, 7]
    assert Merge(8)(torch.rand(1, 8, 4, 4)).shape == (1, 16, 2, 2)
    spread = Expand.spread(torch.arange(8.0).reshape(1, 8, 1, 1))
    assert spread[0, 0, 0].tolist() == [0, 1] and spread[0, 0, 1].tolist() == [2, 3]
    assert spread[0, 1, 0].tolist() == [4, 5]
    assert Expand(128)(torch.rand(1, 128, 8, 8)).shape == (1, 64, 16, 16)


def test_pixel_attention_of_the_facts() -> None:
    layer = PixelAttention(4)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.fill_(0.1 if name.endswith("weight") else 0)
        found = layer((torch.arange(64.0) / 10).reshape(1, 4, 4, 4))
    assert found.sum().item() == pytest.approx(62.26944, abs=1e-4)
    assert found[0, 0, 0].tolist() == pytest.approx([0, 0.024, 0.04992, 0.07776], abs=1e-6)


def test_the_sentence_reaches_the_maps() -> None:
    learner = small().eval()
    images = batch().images[:1]
    with torch.inference_mode():
        one, other = (learner.class_probabilities(images, [text]) for text in ("bright", "dark"))
    assert one.shape == (1, 1, 32, 32) and not torch.equal(one, other)


@pytest.mark.parametrize("channels, side", [(1, 48), (3, 32), (3, 20)])
def test_grey_and_colour_of_any_size(channels: int, side: int) -> None:
    learner = small(2, "ppe-s48-c8-d16").eval()
    with torch.inference_mode():
        found = learner.class_probabilities(torch.rand(2, channels, side, side), ["a", "b " * 40])
    assert found.shape == (2, 2, side, side) and bool(((found >= 0) & (found <= 1)).all())


@pytest.mark.parametrize("variant", ["published", "corrected"])
def test_a_picture_does_not_depend_on_its_batch(variant: str) -> None:
    learner = small(variant=variant).eval()
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    made = batch()
    with torch.inference_mode():
        both = learner.class_probabilities(made.images, made.sentences)
        alone = learner.class_probabilities(made.images[:1], made.sentences[:1])
    assert torch.allclose(both[:1], alone, atol=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())


def test_regimes_of_the_encoder() -> None:
    assert small(variant="published").options.encoder_regime == "frozen_random"
    assert small().options.encoder_regime == "train"
    frozen = small(encoder_regime="frozen_random").train()
    assert not frozen.encoder.training and frozen.decoder.training
    frozen.loss(batch()).total.backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is None for parameter in frozen.encoder.parameters())
    assert small(variant="published").train().encoder.training
    with pytest.raises(UserError, match="expected a file of `fewshot pretrain simsiam`"):
        MPTPN.check_start(MPTPNOptions(encoder_regime="frozen_pretrained"), "random")
    with pytest.raises(UserError, match="expected random"):
        MPTPN.check_start(MPTPNOptions(variant="published"), "file.pt")
    MPTPN.check_start(MPTPNOptions(), "file.pt")


def test_options_and_names_are_checked(tmp_path: Path) -> None:
    for name in ("resnet50", "ppe-s30", "ppe-c12", "ppe-d0", "ppe-c8-s32"):
        with pytest.raises(UserError, match="expected"):
            NamedPromptEncoder(name, 0)
    with pytest.raises(UserError, match="text_file"):
        small(text="cached")
    with pytest.raises(UserError, match="leave it out"):
        MPTPNOptions(text_file="x")
    np.savez(tmp_path / "v.npz", sentences=np.array(["a b"]), vectors=np.ones((1, 12, 16), np.float32))
    assert CachedText(tmp_path / "v.npz", 16)("a b").shape == (10, 16)
    with pytest.raises(UserError, match="no vectors of 'c'"):
        CachedText(tmp_path / "v.npz", 16)("c")
    with pytest.raises(UserError, match="name the encoder ppe-d16"):
        CachedText(tmp_path / "v.npz", 8)


def test_a_killed_training_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    def episodes(numbers: range) -> Iterator[LabelledBatch]:
        for step in numbers:
            if step == stop:
                raise KeyboardInterrupt
            yield batch(step)

    recipe = Recipe(steps=4, learning_rate=1e-3, momentum=0.9, weight_decay=0.0, decay=1.0, decay_every=9)
    digests = {}
    for name, stops in (("whole", [9]), ("killed", [1, 3, 9])):
        for stop in stops:
            try:
                train(
                    small(), recipe, tmp_path / name, seed=0, device=torch.device("cpu"), episodes=episodes,
                    checkpoint_every=1,
                )  # fmt: skip
            except KeyboardInterrupt:
                assert stop < 9
        digests[name] = [
            hashlib.sha256((tmp_path / name / file).read_bytes()).hexdigest()
            for file in ("last.pt", "losses.csv")
        ]
    assert digests["whole"] == digests["killed"]


@pytest.mark.slow
def test_bert_averages_pieces_and_drops_the_ends(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "nu", "##clei", "dense", ".", "eof", "xxx"]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    transformers.BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    torch.manual_seed(0)
    model = transformers.BertModel(config).eval()
    model.save_pretrained(tmp_path)
    found = BertText(tmp_path, 16)("dense nuclei . " * 3)
    ids = torch.tensor([[2] + [7, 5, 6, 8] * 3 + [3]])
    with torch.inference_mode():
        hidden = model(ids).last_hidden_state[0].numpy()
    expected = np.stack([hidden[1], hidden[2:4].mean(0), hidden[4], hidden[5]])
    assert np.allclose(found[:4], expected, atol=1e-5) and found.shape == (10, 16)
    assert not found[9].any()
    with pytest.raises(UserError, match="ppe-d16"):
        BertText(tmp_path, 8)


@pytest.mark.slow
def test_golden_outputs_of_the_encoder_at_full_width(shared: Path) -> None:
    from protocols.conformance.parts import mptpn

    found = list(mptpn.check(shared / "other_systems"))
    assert len(found) >= 14 and all(quantity.ok for quantity in found), found
