"""Recipe marks: one line in a record that names how its training differs from the published recipe.

The comparison reads only the `model` part of a record, so it works for a new cell and for an old record.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from fewshot.encoders.checkpoints import FILES
from fewshot.learners.recipe import Recipe
from fewshot.learners.registry import resolve_method, trains
from fewshot.learners.training_plan import TrainingPlan
from results.summary.comparability import RECIPE_MARK

Difference = tuple[str, object]  # the record's value as text, and the published value
FLOAT32 = "float32"
NAMED_APART = ("steps", "batch", "encoder", "weights", "snapshot_every")  # a snapshot moves no weight


def recipe_mark(learner: type[Any], model: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return one mark that names how a training differs from the published recipe; () if it does not differ.

    The comparison covers encoder, steps, initial weights, batch and precisions, then every other number of
    the recipe. For a method in stages it also covers the options beyond those of the base method, because
    they decide how the stages are trained. A record cannot prove which images a pre-trained file saw, so a
    pre-trained start always differs. A learner that trains nothing differs if its option `weights` is random
    although its class names `published_weights`.

    Args:
        learner: the learner class, whose `recipe()` is the published one.
        model: the `model` part of a record.
        options: the `options` of the record's `method` part.
    """
    file = getattr(learner, "published_weights", None)
    if file is not None and options.get("weights") == "random":
        return (f"{RECIPE_MARK}random weights (published {file})",)
    if not trains(learner) or model["encoder"] is None:
        return ()
    differences = [
        *recipe_differences(model, learner.recipe(), _pretraining_images(learner)),
        *_stage_differences(learner, options),
    ]
    if not differences:
        return ()
    (text, value), *rest = differences
    texts = [f"{text} (published {_plain(value)})", *(f"{text} ({_plain(value)})" for text, value in rest)]
    return (RECIPE_MARK + ", ".join(texts),)


def recipe_differences(
    model: Mapping[str, Any], published: Recipe, images: str | None = None
) -> Iterator[Difference]:
    """Yield every difference between a `model` part and the published recipe, in a fixed order.

    The training of an external checkpoint is unknown, so only its encoder and precisions are compared.
    """
    trained = model.get("recipe") or {}
    if model["encoder"] != published.encoder:
        yield f"encoder {model['encoder']}", published.encoder
    steps = trained.get("steps", model["steps"])
    if steps is not None and steps != published.steps:
        yield f"{steps} steps", published.steps
    if model["checkpoint"] != "external":
        yield from _weights_difference(model, published.weights, images)
    if trained.get("batch", published.batch) != published.batch:
        yield f"batch {trained['batch']}", published.batch
    for key, verb in (("precision", "trained"), ("answer_precision", "evaluated")):
        if model.get(key, FLOAT32) != FLOAT32:
            yield f"{verb} in {model[key]}", FLOAT32
    for name, value in dataclasses.asdict(published).items():
        if name not in NAMED_APART and trained.get(name, value) != value:
            yield f"{name} {trained[name]}", value


def _weights_difference(model: Mapping[str, Any], published: str, images: str | None) -> Iterator[Difference]:
    """Yield the initial weights if neither their name nor their file's hash is the published one.

    The text names no fold's file or images, so that all cells of a table carry one mark.
    """
    weights = model["initial_weights"]
    if weights is None:
        return
    name = weights["name"]
    if images is not None and name == published:
        yield f"{name} weights from training scans", images
    elif name != published and not is_file_of(weights["sha256"], model["encoder"], published):
        yield f"{name} weights", published if images is None else f"{published} from {images}"


def _published_plan(learner: type[Any]) -> TrainingPlan | None:
    """Return the published stages of a learner class; None for a class without a plan of its own."""
    if not hasattr(learner, "training_plan"):
        return None
    plan: TrainingPlan = learner.training_plan(learner.Options(), learner.recipe())
    return plan


def _pretraining_images(learner: type[Any]) -> str | None:
    """Return the images of the published pre-training of a backbone; None for a method without that stage."""
    plan = _published_plan(learner)
    stage = None if plan is None else plan.backbone_stage
    return None if stage is None else stage.images


def is_file_of(sha256: str | None, encoder: str, published: str) -> bool:
    """Return whether a file's hash is that of the published weights (the same file under another name)."""
    file = FILES.get(encoder, {}).get(published)
    if sha256 is None or file is None:
        return False
    return sha256.startswith(file.removesuffix(".pth").rpartition("-")[2])


def _stage_differences(learner: type[Any], options: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield the options of the trained stages that are not the published ones."""
    plan = _published_plan(learner)
    base = None if plan is None else plan.episode_stages[0].method
    if base is None:
        return
    own = {field.name for field in dataclasses.fields(resolve_method(base).Options)}
    for name, value in dataclasses.asdict(learner.Options()).items():
        if name not in own and name in options and _plain(options[name]) != _plain(value):
            yield f"{name} {_plain(options[name])}", value


def _plain(value: object) -> str:
    """Return a value as text; JSON gives a list where an option is a tuple."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
