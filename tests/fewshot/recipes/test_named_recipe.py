"""Recipes by name: their numbers in a method, the options that replace them, and their name in tables."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from making import record, score

from fewshot.base.errors import UserError
from fewshot.learners.registry import METHODS, resolve_method, trains
from fewshot.recipes.named_recipe import find_recipe, named_recipes, recipe_name
from protocols.training.method_config import build_method_config
from results.records.record import Record
from results.records.record_parts import WeightsPart
from results.summary.notes import training_text

NUMBERS = {
    "batch": "8", "learning_rate": "0.03", "momentum": "0.9", "weight_decay": "0.0005", "decay": "0.95",
    "decay_every": "1000", "augmentation": "published",
}  # fmt: skip


def test_a_recipe_is_its_numbers_and_nothing_else() -> None:
    by_hand = build_method_config("adnet", NUMBERS, encoder="resnet18", weights="random", steps=800)
    assert build_method_config("adnet", {}, recipe="short") == by_hand
    assert by_hand.recipe is not None and by_hand.recipe.episode == "supervoxel"  # the method's own


def test_options_replace_the_numbers_of_a_recipe() -> None:
    changed = build_method_config("ssl-alpnet", {"batch": "2"}, encoder="resnet50", steps=5, recipe="short")
    recipe = changed.recipe
    assert recipe is not None
    assert (recipe.batch, recipe.encoder, recipe.weights, recipe.steps) == (2, "resnet50", "random", 5)
    assert recipe.learning_rate == 0.03
    given = build_method_config("ssl-alpnet", {}, weights="imagenet", recipe="short").recipe
    assert given is not None and given.weights == "imagenet"


def test_every_stage_of_densemp_has_short_numbers() -> None:
    config = build_method_config("densemp", {}, recipe="short")
    plan = config.learner.training_plan(config.options, config.recipe)
    steps = [stage.recipe.steps for stage in plan.episode_stages]
    assert plan.backbone_stage.recipe.epochs == 20 and steps == [800, 40]
    assert [stage.recipe.learning_rate for stage in plan.episode_stages] == [0.03, 0.003]
    assert plan.episode_stages[0].recipe.weights == "densecl"


@pytest.mark.parametrize("method", [name for name in METHODS if trains(resolve_method(name))])
@pytest.mark.parametrize("name", named_recipes())
def test_every_method_that_trains_takes_every_recipe(method: str, name: str) -> None:
    config = build_method_config(method, {}, recipe=name)
    assert config.recipe is not None
    numbers = dataclasses.asdict(config.options) | dataclasses.asdict(config.recipe)
    assert recipe_name(method, numbers) == name
    assert build_method_config(method, {}) != config


def test_unknown_names_and_methods_without_training_are_refused() -> None:
    with pytest.raises(UserError, match=r"unknown recipe 'shorter'.*short"):
        find_recipe("shorter")
    with pytest.raises(UserError, match="nothing to train: leave out --recipe"):
        build_method_config("copy-support", {}, recipe="short")
    assert find_recipe("published") is None


def trained(**changes: Any) -> Record:
    """Return a record of ssl-alpnet by the short recipe, with `changes` of its numbers."""
    plain = record(0, "upper", [score("liver", "1", 50), score("spleen", "1", 50)])
    recipe = build_method_config("ssl-alpnet", {}, recipe="short").recipe
    assert recipe is not None
    numbers = {**dataclasses.asdict(recipe), **changes}
    model = dataclasses.replace(
        plain.model, encoder=numbers.pop("encoder"), recipe=numbers, steps=numbers["steps"],
        initial_weights=WeightsPart(numbers.pop("weights"), None),
    )  # fmt: skip
    method = dataclasses.replace(plain.method, name="ssl-alpnet")
    return dataclasses.replace(plain, model=model, method=method)


def test_a_table_names_the_recipe_that_every_number_follows() -> None:
    assert training_text(trained()) == "recipe short, resnet18, random weights, 800 steps"
    assert training_text(trained(snapshot_every=100)).startswith("recipe short")  # a snapshot moves no weight
    for change in ({"learning_rate": 0.01}, {"decay": 0.9}, {"steps": 801}, {"weights": "coco"}):
        assert "recipe" not in training_text(trained(**change))
