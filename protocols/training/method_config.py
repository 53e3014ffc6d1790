"""A method settled from its name and the options typed: learner class, options, recipe."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

from fewshot.base.errors import UserError, unknown_name
from fewshot.encoders.checkpoints import default_weights
from fewshot.learners.learner import Recipe, options_from
from fewshot.learners.registry import resolve_method, trains
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
    """Return the method with every number settled: typed options over the method's published ones.

    `settings` (from `--option`) may name the method's own options and, for what those don't name, the
    recipe's (learning_rate, decay, ...). Raises `UserError` for unknown names and wrong types.
    """
    learner = resolve_method(name)
    own = {field.name for field in dataclasses.fields(learner.Options)}
    of_recipe = {field.name for field in dataclasses.fields(Recipe)}
    for key in settings:
        if key not in own and (key not in of_recipe or not trains(learner)):
            raise unknown_name(f"option of {name}", key, own | (of_recipe if trains(learner) else set()))
    options = options_from(learner.Options, {k: v for k, v in settings.items() if k in own})
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

    Most methods have one set of constants and come back as they are; see `PrototypeLearner.settled_options`.
    What a reader must know of the choice becomes the method's `marks`.
    """
    if not hasattr(method.learner, "settled_options"):
        return method
    options, marks = method.learner.settled_options(method.options, region, setting)
    return dataclasses.replace(method, options=options, marks=marks)


def with_logged_constants(method: MethodConfig, region: str, setting: int) -> MethodConfig:
    """Return the method as `settled_for` does, and warn of a choice that is no row of the authors'."""
    settled = with_dataset_constants(method, region, setting)
    for mark in settled.marks:
        LOG.warning("%s", mark)
    return settled
