"""Building a `MethodConfig` from a method's name and the user's options."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

from fewshot.base.errors import UserError, unknown_name
from fewshot.encoders.checkpoints import default_weights
from fewshot.learners.options import options_from
from fewshot.learners.recipe import Recipe
from fewshot.learners.registry import options_class, resolve_method, trains
from fewshot.recipes.named_recipe import PUBLISHED, find_recipe
from protocols.training.method import MethodConfig

LOG = logging.getLogger("fewshot")


def build_method_config(
    name: str,
    settings: Mapping[str, str],
    *,
    encoder: str | None = None,
    weights: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    precision: str = "float32",
    compiled: bool = False,
    recipe: str = PUBLISHED,
) -> MethodConfig:
    """Return the method with every number fixed: the user's values, else those of the recipe.

    Args:
        name: of the method, or its file and class.
        settings: from `--option`; the method's options or, if it has no such option, recipe fields.
        encoder: None: that of the recipe, as for `weights` and `steps`.
        weights: initial weights, a name or a file.
        steps: training steps.
        seed: of training and initial weights.
        precision: of the training, "float32" or "bf16".
        compiled: whether torch compiles the training step.
        recipe: name of the recipe that gives the numbers which the user leaves out.

    Raises:
        UserError: unknown name, wrong type, or a training option of a method that does not train.
    """
    learner = resolve_method(name)
    named = find_recipe(recipe)
    options_type = options_class(learner)
    own = {field.name for field in dataclasses.fields(options_type)}
    of_recipe = {field.name for field in dataclasses.fields(Recipe)}
    for key in settings:
        if key not in own and (key not in of_recipe or not trains(learner)):
            raise unknown_name(f"option of {name}", key, own | (of_recipe if trains(learner) else set()))
    base: dict[str, Any] = {} if named is None else named.numbers_of(name)
    options = options_type(**{k: v for k, v in base.items() if k in own})
    options = options_from(options_type, {k: v for k, v in settings.items() if k in own}, options)
    if not trains(learner):
        flags = {"--encoder": encoder, "--weights": weights, "--steps": steps, "--compile": compiled or None}
        flags["--recipe"] = None if named is None else recipe
        given = [flag for flag, value in flags.items() if value is not None]
        if given:
            raise UserError(f"{name} has no encoder and nothing to train: leave out {', '.join(given)}")
        return MethodConfig(name, learner, options, None, seed, precision)
    start: Recipe = dataclasses.replace(learner.recipe(), **{k: v for k, v in base.items() if k not in own})
    rest = {key: value for key, value in settings.items() if key not in own}
    changes = dataclasses.asdict(options_from(Recipe, rest, start))
    for flag, value in (("encoder", encoder), ("weights", weights), ("steps", steps)):
        if flag in rest and value is not None:
            raise UserError(f"--{flag} and --option {flag}= are the same: give one of them")
    encoder = changes["encoder"] if "encoder" in rest else encoder
    weights = changes["weights"] if "weights" in rest else weights
    if encoder is not None:
        changes["encoder"] = encoder
        changes["weights"] = base.get(
            "weights", getattr(learner, "default_weights", default_weights)(encoder)
        )
    if weights is not None:
        changes["weights"] = weights
    if steps is not None:
        changes["steps"] = steps
    numbers = Recipe(**changes)
    if hasattr(learner, "complete_recipe"):
        values: dict[str, Any] = {"weights": weights, "steps": rest.get("steps", steps)}
        typed = {name: value for name, value in values.items() if value is not None}
        numbers = learner.complete_recipe(options, numbers, typed)
    return MethodConfig(name, learner, options, numbers, seed, precision, compiled)


def with_dataset_constants(method: MethodConfig, region: str, setting: int) -> MethodConfig:
    """Return the method with the constants that its authors give for a region and a setting.

    A method with one set of constants comes back unchanged; see `PrototypeLearner.constants_for`. Notes
    on the choice become the method's `marks`.
    """
    if not hasattr(method.learner, "constants_for"):
        return method
    options, marks = method.learner.constants_for(method.options, region, setting)
    return dataclasses.replace(method, options=options, marks=marks)


def with_logged_constants(method: MethodConfig, region: str, setting: int) -> MethodConfig:
    """Return `with_dataset_constants`; log a warning for a choice that the authors do not give."""
    config = with_dataset_constants(method, region, setting)
    for mark in config.marks:
        LOG.warning("%s", mark)
    return config
