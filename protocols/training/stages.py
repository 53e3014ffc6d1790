"""Stages of a method's training plan: each is a training with its own key; finished ones are reused.

A first stage that is another method's own training has that method's key, so
`fewshot run --method BASE --weights FILE` shares it. A stage that reads labels of the training group is
trained once per group, in setting 1 too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from episodes.plan.plan import CellPlan
from episodes.sampling.annotated import AnnotatedEpisodes, MixedEpisodes, annotated_pairs, fold_supports
from episodes.sampling.base import EpisodeSource
from episodes.store.slices import Normalisation, SliceReader
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.seeds import seed_for
from fewshot.encoders.backbone_file import Pretraining
from fewshot.encoders.checkpoints import NAMED
from fewshot.files.atomic_io import hash_of
from fewshot.identity.regimes import trains_on_labels
from fewshot.learners.learner import PrototypeLearner
from fewshot.learners.registry import resolve_method
from fewshot.learners.training_plan import EpisodeStage, TrainingPlan, single_stage
from protocols.regimes.labelled import check_target_labels
from protocols.request import Request
from protocols.rules.audits import audit_backbone
from protocols.training.fold_weights import fill_fold, has_fold_placeholder, weights_label
from protocols.training.method import MethodConfig
from protocols.training.model_spec import model_spec
from protocols.training.models import (
    Model,
    build_learner,
    ensure_model,
    find_pretraining,
    host_preparation,
    train_model,
    with_record_extras,
)
from protocols.training.pseudo_labels import KINDS
from protocols.training.record_extras import merge_machines, read_record_extras

Stages = list[dict[str, Any]]


def plan_training(method: MethodConfig) -> TrainingPlan:
    """Return the training plan of a method that is trained."""
    assert method.recipe is not None
    if not hasattr(method.learner, "training_plan"):
        return single_stage(method.recipe)
    plan: TrainingPlan = method.learner.training_plan(method.options, method.recipe)
    return plan


def has_stages(method: MethodConfig) -> bool:
    """Return whether a method is trained in several stages."""
    return method.recipe is not None and plan_training(method).has_stages


def reads_labels(method: MethodConfig) -> bool:
    """Return whether a training reads labels of the training group."""
    if method.recipe is None:
        return False
    return trains_on_labels(method.learner) or plan_training(method).reads_labels


def makes_backbone(method: MethodConfig) -> bool:
    """Return whether the plan's first stage trains the initial weights."""
    if method.recipe is None:
        return False
    first = plan_training(method).backbone_stage
    return first is not None and method.recipe.weights == first.name


def check_stages(request: Request, method: MethodConfig) -> None:
    """Raise `UserError`, before any training, for a plan that cannot be trained."""
    assert method.recipe is not None
    plan, weights = plan_training(method), method.recipe.weights
    if request.train_store is not None and trains_on_labels(method.learner):
        raise UserError(
            f"--train-dataset: {method.name} trains on labels of the tested classes of the tested dataset; "
            "leave the option out"
        )
    if request.train_store is not None and plan.reads_labels:
        labelled = next(stage.name for stage in plan.episode_stages if stage.annotated)
        raise UserError(
            f"--train-dataset: stage {labelled} needs the fold's support scan, which is of the tested "
            "dataset; leave the option or the stage out"
        )
    if makes_backbone(method) or weights in NAMED or not plan.has_stages:
        return
    if not Path(weights).is_file():
        raise UserError(f"--weights {weights!r} is no file; give a file of `fewshot pretrain`")
    about, stage = find_pretraining(weights), plan.backbone_stage
    if stage is None and about is not None:
        raise UserError(
            f"--weights {weights} is a pre-trained backbone ({about.kind} {about.key}), and the stage that "
            "makes one is left out; name that stage too"
        )
    if stage is not None and about is None:
        raise UserError(
            f"--weights {weights} does not say how it was pre-trained, expected a file of `fewshot pretrain "
            f"{stage.name}` for stage {stage.name}; leave that stage out to start from another file"
        )


def check_labels(method: MethodConfig, plan: CellPlan, store: Store) -> None:
    """Raise `UserError`, before any training, if a stage would find no label of the training group."""
    if trains_on_labels(method.learner):
        check_target_labels(plan, store)
    elif reads_labels(method):
        annotated_pairs(store.index, store.spec, plan)


def with_last_recipe(method: MethodConfig, select: str) -> MethodConfig:
    """Return the method with the recipe of its last stage, which decides the model's snapshots and steps.

    A policy (`select`) other than "last" needs snapshots. If the recipe's interval gives the last stage
    none, the last stage saves one at every decay of the rate. A stage shared with another method keeps its
    interval, because another one would change its key.
    """
    if not has_stages(method):
        return method
    last = plan_training(method).last
    recipe = last.recipe
    if last.method is None and select != "last" and recipe.snapshot_every >= recipe.steps:
        recipe = dataclasses.replace(recipe, snapshot_every=recipe.decay_every)
    return dataclasses.replace(method, recipe=recipe)


def ensure_trained(
    request: Request, method: MethodConfig, plan: CellPlan, store: Store, intensities: Normalisation
) -> Model:
    """Return the model after the method's last stage; train missing stages.

    Args:
        request: work folder, device and checkpoint policy.
        method: with its recipe.
        plan: names the training scans and slices.
        store: the dataset of the training.
        intensities: of the training scans.

    Raises:
        UserError: a backbone saw a query, or a stage finds no label of the training group.
    """
    *_earlier, (_name, last) = train_stages(request, method, plan, store, intensities)
    assert isinstance(last, Model)
    return last


def train_stages(
    request: Request, method: MethodConfig, plan: CellPlan, store: Store, intensities: Normalisation
) -> Iterator[tuple[str, Model | Path]]:
    """Yield name and result of every stage in order; a stage is trained when its turn is drawn.

    The result is the model after an episode stage, or the file of the backbone stage. Arguments and errors as
    `ensure_trained`.
    """
    assert method.recipe is not None
    training = plan_training(method)
    weights = fill_fold(method.recipe.weights, plan.evaluation.fold)
    machines: list[dict[str, Any]] = []
    if makes_backbone(method):
        path = _backbone(request, method, plan, store, intensities)
        weights, machines = str(path), read_record_extras(path.parent).get("trained_on", [])
        assert training.backbone_stage is not None
        yield training.backbone_stage.name, path
    about = find_pretraining(weights)
    if about is not None and training.has_stages:
        audit_backbone(plan.evaluation, request.store, about)
    first, *later = training.episode_stages
    model = ensure_model(
        first_method(method, weights), plan, store, intensities, request.work, request.device,
        request.checkpoint_every,
    )  # fmt: skip
    file = start = model.description["initial_weights"]
    if makes_backbone(method) or has_fold_placeholder(method.recipe.weights):
        start = weights_label(method.recipe.weights)
    if not training.has_stages:
        is_named = has_fold_placeholder(method.recipe.weights)
        yield first.name, with_record_extras(model, {"initial_weights": start}) if is_named else model
        return
    machines = merge_machines(machines, model.description["trained_on"])
    stages = [*_backbone_entry(training, about), _stage_entry(first, model)]
    description = _description(model, start, training, stages, machines)
    model = dataclasses.replace(model, description=model.description | description)
    yield first.name, model
    initial = start if makes_backbone(method) else file
    for stage in later:
        model = _next_stage(request, method, stage, plan, store, intensities, model, initial, about)
        yield stage.name, model


def first_method(method: MethodConfig, weights: str) -> MethodConfig:
    """Return the method of the first episode stage, itself or its base method, with `weights`."""
    first = plan_training(method).episode_stages[0]
    recipe = dataclasses.replace(first.recipe, weights=weights)
    if first.method is None:
        return method if recipe == method.recipe else dataclasses.replace(method, recipe=recipe)
    return dataclasses.replace(
        method, name=first.method, learner=resolve_method(first.method), options=first.options, recipe=recipe,
        marks=(),
    )  # fmt: skip


def _backbone(
    request: Request, method: MethodConfig, plan: CellPlan, store: Store, intensities: Normalisation
) -> Path:
    """Return the backbone file that the first stage trains on a plan's training scans."""
    from protocols.training.pretraining import ensure_backbone

    assert method.recipe is not None
    stage = plan_training(method).backbone_stage
    assert stage is not None
    return ensure_backbone(
        stage.recipe, method.recipe.encoder, store, plan.training.scans, intensities, request.work,
        request.device, method.seed, precision=method.precision, checkpoint_every=request.checkpoint_every,
    )  # fmt: skip


def _next_stage(
    request: Request, method: MethodConfig, stage: EpisodeStage, plan: CellPlan, store: Store,
    intensities: Normalisation, before: Model, initial: dict[str, Any], about: Pretraining | None,
) -> Model:  # fmt: skip
    """Return the model `before` after training it in a later stage of the method.

    `initial` describes the weights before the first stage: this fold's file, even where a record names a
    pattern of files.
    """
    own = later_method(method, stage, request.checkpoint_policy)
    assert own.recipe is not None
    pseudo = KINDS[own.recipe.episode](store)
    described = {name: before.description[name] for name in ("initial_weights", "steps", "recipe", "stages")}
    spec = later_spec(
        own, stage, initial, plan, store, intensities.rule, pseudo.description, before.description["key"]
    )
    learner = build_learner(own)
    learner.load_state_dict(before.learner.state_dict())
    seed = method.seed if stage.seed_name is None else seed_for(stage.seed_name, method.seed)
    source = pseudo.episodes(
        SliceReader(store, intensities), plan.training, own.recipe, seed, host_preparation(learner)
    )
    if stage.annotated:
        described["labels"] = spec["labels"]
        source = _with_labels(own, stage, learner, plan, store, intensities, source, seed)
    described["steps"] += own.recipe.steps
    spec |= {"told": described}
    model = train_model(
        own, learner, spec, source, about, request.work, request.device, request.checkpoint_every,
        f"fold {plan.evaluation.fold} {plan.evaluation.group} stage {stage.name}",
    )  # fmt: skip
    stages = [*before.description["stages"], _stage_entry(stage, model)]
    machines = merge_machines(before.description["trained_on"], model.description["trained_on"])
    skipped = before.description["skipped_episodes"] + model.description["skipped_episodes"]
    extras = {"stages": stages, "trained_on": machines, "skipped_episodes": skipped}
    return with_record_extras(model, extras)


def later_method(method: MethodConfig, stage: EpisodeStage, policy: str) -> MethodConfig:
    """Return the method with the recipe of a stage after the first; `policy` chooses the checkpoint."""
    last = stage == plan_training(method).last
    recipe = with_last_recipe(method, policy).recipe if last else stage.recipe
    return dataclasses.replace(method, recipe=recipe)


def later_spec(
    method: MethodConfig, stage: EpisodeStage, initial: dict[str, Any], plan: CellPlan, store: Store,
    rule: str, pseudo: dict[str, Any], key: str,
) -> dict[str, Any]:  # fmt: skip
    """Return the spec of a stage after the first; arguments as `model_spec`.

    `method` has the stage's recipe (`later_method`); `key` is the key of the stage before.
    """
    spec = model_spec(method, initial, plan.training, store, rule, pseudo)
    if stage.annotated:
        spec["labels"] = _labels_part(plan, store)
    return spec | {"from": key}


def _labels_part(plan: CellPlan, store: Store) -> dict[str, Any]:
    """Return the description of the labels that a stage reads."""
    pairs = annotated_pairs(store.index, store.spec, plan)
    every = [(name, *pair) for name, chosen in pairs.items() for pair in chosen]
    labels: dict[str, Any] = {
        "classes": list(pairs),
        "support_scans": sorted({support.scan for _, _, supports in every for support in supports}),
        "slices": len({query for _, query, _ in every}),
        "hash": hash_of([[name, query, supports] for name, query, supports in every])[:16],
    }
    supports = fold_supports(store.index, store.spec, plan)
    if not set(labels["support_scans"]) & set(supports):
        labels["in_place_of"] = list(supports)  # a note in tables: results/summary/notes.py
    return labels


def _with_labels(
    method: MethodConfig, stage: EpisodeStage, learner: PrototypeLearner, plan: CellPlan, store: Store,
    intensities: Normalisation, pseudo: EpisodeSource, seed: int,
) -> EpisodeSource:  # fmt: skip
    """Return the episodes of a stage that reads labels, mixed with those of its pseudo-labels."""
    assert method.recipe is not None
    pairs = annotated_pairs(store.index, store.spec, plan)
    annotated = AnnotatedEpisodes(
        SliceReader(store, intensities), pairs, store.spec.classes, seed=seed,
        augmentation=method.recipe.augmentation, batch=method.recipe.batch, prepare=learner.prepare,
    )  # fmt: skip
    return MixedEpisodes(annotated, pseudo, stage.annotated, seed=seed)


def _backbone_entry(training: TrainingPlan, about: Pretraining | None) -> Stages:
    """Return the record's entry of the backbone stage, as a list; empty if the plan has none."""
    if training.backbone_stage is None or about is None:
        return []
    return [
        {
            "name": training.backbone_stage.name,
            "key": about.key,
            "steps": about.steps,
            "source": about.source,
            "images": len(about.images),
        }
    ]


def _stage_entry(stage: EpisodeStage, model: Model) -> dict[str, Any]:
    """Return the record's entry of an episode stage: its training's key, steps and skipped episodes."""
    return {
        "name": stage.name,
        "key": model.description["key"],
        "steps": stage.recipe.steps,
        "skipped_episodes": model.description["skipped_episodes"],
    }


def _description(
    model: Model, start: dict[str, Any], training: TrainingPlan, stages: Stages,
    machines: Sequence[dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """Return the fields of a record's `model` part after the first episode stage of a training in stages.

    Every fold has its own backbone, so `start` names the stage or the file pattern; the entry of the stage
    holds the backbone's key.
    """
    return {
        "initial_weights": start,
        "steps": training.episode_stages[0].recipe.steps,
        "recipe": model.description["recipe"],
        "stages": stages,
        "trained_on": list(machines),
    }
