"""The learner contract: accepted forms of `logits`, several maps, options from text, yardsticks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from baselines.yardsticks import AllForeground, CopySupport
from fewshot.base.errors import UserError
from fewshot.base.types import Episode, Support
from fewshot.encoders.encoder import ResNetEncoder
from fewshot.learners.learner import PrototypeLearner, encoder_for
from fewshot.learners.logits import predict_logit_difference
from fewshot.learners.options import options_from
from fewshot.learners.recipe import Recipe
from protocols.training.method_config import build_method_config
from protocols.training.models import build_learner


class Short(PrototypeLearner):
    """`logits` with the three positional arguments alone: the query's own value is the foreground score."""

    def logits(self, support_features: Tensor, support_masks: Tensor, query_features: Tensor) -> Tensor:  # type: ignore[override]
        return torch.cat([torch.zeros_like(query_features), query_features], dim=1)


class TwoScales(PrototypeLearner):
    """`encode` gives two maps; `prepare` gives the support's area."""

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        return images, images[:, :, ::2, ::2]

    def prepare(self, support_masks: Tensor) -> dict[str, Tensor]:
        return {"area": support_masks.sum().float()}

    def logits(self, support: Any, masks: Tensor, query: Any, *, prepared: Any, branch: str) -> Tensor:
        fine, coarse = query
        assert fine.shape[-1] == 2 * coarse.shape[-1] and len(support) == 2
        area = prepared["area"] if branch == "query" else torch.zeros(())
        return torch.cat([torch.zeros_like(coarse), coarse + area], dim=1)


def support(side: int = 8) -> Support:
    masks = torch.zeros(1, side, side, dtype=torch.bool)
    masks[:, :2, :3] = True
    return Support(torch.zeros(1, 1, side, side), masks)


def test_short_form_of_logits() -> None:
    query = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)
    probability = Short(nn.Identity()).segment(support(), query)
    assert torch.allclose(probability, torch.sigmoid(query[:, 0]))


def test_several_maps_and_what_was_prepared_reach_logits() -> None:
    difference = torch.logit(TwoScales(nn.Identity()).segment(support(), torch.zeros(3, 1, 8, 8)))
    assert difference.shape == (3, 8, 8)
    assert torch.allclose(difference, torch.full((3, 8, 8), 6.0), atol=1e-3)


def test_loss_hands_each_episode_its_own_maps_masks_and_preparation() -> None:
    seen = []

    class Spy(TwoScales):
        def logits(self, support: Any, masks: Tensor, query: Any, *, prepared: Any, branch: str) -> Tensor:
            seen.append((branch, support[0].mean().item(), query[0].mean().item(), dict(prepared)))
            return super().logits(support, masks, query, prepared=prepared or {"area": 0}, branch=branch)

    images = torch.arange(1.0, 7.0).reshape(6, 1, 1, 1).expand(-1, 1, 8, 8)
    episode = Episode(
        images[:4].reshape(2, 2, 1, 8, 8),
        torch.zeros(2, 2, 8, 8, dtype=torch.bool),
        images[4:].reshape(2, 1, 1, 8, 8),
        torch.zeros(2, 1, 8, 8, dtype=torch.bool),
        {"area": torch.tensor([7.0, 8.0])},
    )
    Spy(nn.Identity()).loss(episode)
    assert [(branch, s, q) for branch, s, q, _ in seen] == [
        ("query", 1.5, 5.0), ("alignment", 5.0, 1.5), ("query", 3.5, 6.0), ("alignment", 6.0, 3.5),
    ]  # fmt: skip
    assert [entry[3] for entry in seen] == [{"area": 7.0}, {}, {"area": 8.0}, {}]


def test_support_and_query_are_encoded_as_one_batch_support_first() -> None:
    batches = []

    class Watching(Short):
        def encode(self, images: Tensor) -> Tensor:
            batches.append(images.mean((1, 2, 3)).tolist())
            return images

    masks = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    support_images = torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1, 1).expand(-1, -1, -1, 4, 4)
    Watching(nn.Identity()).loss(Episode(support_images, masks, support_images * 10, masks))
    assert batches == [[1.0, 2.0, 10.0, 20.0]]


def test_answer_is_the_difference_of_the_upsampled_logits() -> None:
    query = torch.tensor([[0.0, 1.0], [2.0, 3.0]]).reshape(1, 1, 2, 2)
    difference, defined = predict_logit_difference(
        Short(nn.Identity()), query, support(2).masks, query, {}, (4, 4)
    )
    assert bool(defined)
    assert difference[0, 0].tolist() == pytest.approx([0.0, 0.25, 0.75, 1.0])


def test_the_comparison_runs_in_float32_after_a_bf16_encoder() -> None:
    class Half(Short):
        def encode(self, images: Tensor) -> Tensor:
            return images.bfloat16()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Half(nn.Identity()).segment(support(), torch.zeros(1, 1, 8, 8)).dtype == torch.float32


@pytest.mark.parametrize("name", ["momentum", "weight_decay"])
def test_a_recipe_has_no_negative_momentum_or_decay(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} -0.5.*: expected 0 or more"):
        Recipe(**{name: -0.5})  # type: ignore[arg-type]


class OwnEncoder(Short):
    """Brings a convolution; its one weight is the seed."""

    @classmethod
    def new_encoder(cls, name: str, seed: int) -> nn.Module:
        encoder = nn.Conv2d(1, 1, 1, bias=False)
        encoder.weight.data.fill_(seed)
        return encoder


def test_a_method_is_built_on_the_encoder_it_asks_for() -> None:
    assert isinstance(encoder_for(Short, "resnet18", 0), ResNetEncoder)
    assert isinstance(encoder_for(AllForeground, "resnet18", 0), ResNetEncoder)  # by shape, not inheritance
    method = build_method_config("ssl-alpnet", {}, encoder="resnet18", weights="random", seed=7)
    learner = build_learner(replace(method, learner=OwnEncoder, options=OwnEncoder.Options()))
    assert learner.encoder.weight.item() == 7.0  # type: ignore[union-attr,operator]


def test_a_method_without_logits_says_so() -> None:
    with pytest.raises(NotImplementedError, match="must define logits"):
        PrototypeLearner(nn.Identity()).segment(support(), torch.zeros(1, 1, 8, 8))


def test_default_group_holds_every_trainable_parameter() -> None:
    learner = Short(nn.Conv2d(1, 2, 1))
    learner.encoder.bias.requires_grad_(False)  # type: ignore[union-attr,operator]
    (group,) = learner.parameter_groups()
    assert group["rate"] == 1.0 and [p.shape for p in group["params"]] == [(2, 1, 1, 1)]


def test_published_recipe() -> None:
    recipe = PrototypeLearner.recipe()
    assert (recipe.steps, recipe.learning_rate, recipe.momentum, recipe.weight_decay) == (
        100_100,
        1e-3,
        0.9,
        5e-4,
    )
    assert (recipe.decay, recipe.decay_every, recipe.snapshot_every) == (0.95, 1000, 25_000)
    assert (recipe.encoder, recipe.weights) == ("resnet101", "coco")


@dataclass(frozen=True)
class Options:
    count: int = 1
    rate: float = 0.5
    fast: bool = False
    mode: Literal["a", "b"] = "a"
    limit: int | None = None
    widths: tuple[float, ...] = (1.0,)
    name: str = ""


def test_options_from_text() -> None:
    given = {
        "count": "3",
        "rate": "1e-3",
        "fast": "True",
        "mode": "b",
        "limit": "7",
        "widths": "0.3,0.8",
        "name": "x",
    }
    assert options_from(Options, given) == Options(3, 1e-3, True, "b", 7, (0.3, 0.8), "x")
    assert options_from(Options, {"limit": "none"}, Options(limit=4, count=9)) == Options(count=9)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("count", "1.5"),
        ("count", "many"),
        ("rate", "nan"),
        ("fast", "maybe"),
        ("mode", "c"),
        ("widths", "1,x"),
    ],
)
def test_wrong_typed_option_is_named(name: str, text: str) -> None:
    with pytest.raises(UserError, match=f"option {name}: expected .*, got '{text}'"):
        options_from(Options, {name: text})


def test_unknown_option_shows_near_names() -> None:
    with pytest.raises(UserError, match="did you mean 'learning_rate'"):
        options_from(Recipe, {"learning_rates": "1"})


def test_all_foreground() -> None:
    assert (
        AllForeground().segment(support(), torch.zeros(2, 1, 8, 8)).tolist() == torch.ones(2, 8, 8).tolist()
    )


def test_copy_support_takes_the_strict_majority_of_shots() -> None:
    masks = torch.tensor([[[1, 1, 1, 0]], [[0, 1, 1, 0]]], dtype=torch.bool)
    pasted = CopySupport().segment(Support(torch.zeros(2, 1, 1, 4), masks), torch.zeros(3, 1, 1, 4))
    assert (pasted > 0.5).tolist() == [[[False, True, True, False]]] * 3
    with pytest.raises(UserError, match="the same size"):
        CopySupport().segment(Support(torch.zeros(2, 1, 1, 4), masks), torch.zeros(3, 1, 4, 4))
