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
) -> MethodConfig:
    """Return the method with every number fixed: the user's values, else the published ones.

    Args:
        name: of the method, or its file and class.
        settings: from `--option`; the method's options or, if it has no such option, recipe fields.
        encoder: None: the published one, as for `weights` and `steps`.
        weights: initial weights, a name or a file.
        steps: training steps.
        seed: of training and initial weights.
        precision: of the training, "float32" or "bf16".
        compiled: whether torch compiles the training step.

    Raises:
        UserError: unknown name, wrong type, or a training option of a method that does not train.
    """
    learner = resolve_method(name)
    options_type = options_class(learner)
    own = {field.name for field in dataclasses.fields(options_type)}
    of_recipe = {field.name for field in dataclasses.fields(Recipe)}
    for key in settings:
        if key not in own and (key not in of_recipe or not trains(learner)):
            raise unknown_name(f"option of {name}", key, own | (of_recipe if trains(learner) else set()))
    options = options_from(options_type, {k: v for k, v in settings.items() if k in own})
    if not trains(learner):
        flags = {"--encoder": encoder, "--weights": weights, "--steps": steps, "--compile": compiled or None}
        given = [flag for flag, value in flags.items() if value is not None]
        if given:
            raise UserError(f"{name} has no encoder and nothing to train: leave out {', '.join(given)}")
        return MethodConfig(name, learner, options, None, seed, precision)
    published: Recipe = learner.recipe()
    rest = {key: value for key, value in settings.items() if key not in own}
    changes = dataclasses.asdict(options_from(Recipe, rest, published))
    for flag, value in (("encoder", encoder), ("weights", weights), ("steps", steps)):
        if flag in rest and value is not None:
            raise UserError(f"--{flag} and --option {flag}= are the same: give one of them")
    encoder = changes["encoder"] if "encoder" in rest else encoder
    weights = changes["weights"] if "weights" in rest else weights
    if encoder is not None:
        changes["encoder"] = encoder
        changes["weights"] = default_weights(encoder)
    if weights is not None:
        changes["weights"] = weights
    if steps is not None:
        changes["steps"] = steps
    recipe = Recipe(**changes)
    if hasattr(learner, "complete_recipe"):
        values: dict[str, Any] = {"weights": weights, "steps": rest.get("steps", steps)}
        typed = {name: value for name, value in values.items() if value is not None}
        recipe = learner.complete_recipe(options, recipe, typed)
    return MethodConfig(name, learner, options, recipe, seed, precision, compiled)


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
