"""A method trained in stages: the backbone, its base method's training, fine-tuning with labels.

DenseMP (baselines/densemp.py; METHODS, section 4). Every stage is a training with a key of its own, and what
is there is reused. Stage 2 is the base method's training and nothing else, so `fewshot run --method
ssl-alpnet --weights FILE` shares it. Stage 3 takes labels of the training group, so it is trained once per
group, in setting 1 too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from episodes.annotated_sampler import AnnotatedEpisodes, MixedEpisodes, annotated_pairs, fold_supports
from episodes.plan import Plan
from episodes.slices import Normalisation, SliceReader
from episodes.store import Store
from fewshot.backbone_file import Pretraining
from fewshot.checkpoints import default_weights
from fewshot.errors import UserError
from fewshot.files import hash_of
from fewshot.registry import resolve_method
from fewshot.seeds import seed_for
from protocols.audits import audit_backbone
from protocols.cells import Request
from protocols.fold_weights import filled_in, is_pattern, told_of
from protocols.method import Method
from protocols.model_spec import model_spec
from protocols.models import NAMED, Model, built, ensure_model, pretraining_of, trained, with_record_extras
from protocols.pseudo_labels import KINDS
from protocols.record_extras import merge_machines, read_record_extras

DENSECL = "densecl"  # `--weights` that stage 1 makes
STAGE_3 = 3


def is_staged(learner: type[Any]) -> bool:
    """Say whether a learner class is trained in stages."""
    return getattr(learner, "base", None) is not None


def first_weights(stages: tuple[int, ...], encoder: str, typed: str | None) -> str:
    """Return what training starts from: made by stage 1 or a file of it, else as for other methods."""
    if 1 in stages:
        if typed in NAMED:
            raise UserError(
                f"--weights {typed}: stage 1 makes the weights itself; leave --weights out, give a file of "
                "`fewshot pretrain densecl`, or leave stage 1 out (--stages 2,3)"
            )
        return typed or DENSECL
    if typed == DENSECL:
        raise UserError("--weights densecl: stage 1 makes them, and it is left out; name 1 among the stages")
    return typed or default_weights(encoder)


def stage_2_steps(stages: tuple[int, ...], steps: int, typed: int | None, settings: Mapping[str, str]) -> int:
    """Return the steps of stage 2; left out it has none, and those asked of it are a `UserError`."""
    if 2 in stages:
        return steps
    if typed is not None or "steps" in settings:
        raise UserError(
            f"--steps {settings.get('steps', typed)}: they are stage 2's, which is left out; leave --steps "
            "out, or name 2 among the stages (stage 3 has --set stage3_steps=N)"
        )
    return 0


def row_weights(stages: tuple[int, ...], typed: str | None) -> str | None:
    """Return those of the typed weights that an ablation's row takes: a file is stage 1, a name is none."""
    return typed if (typed in NAMED) != (1 in stages) else None


def check_pipeline(request: Request, method: Method) -> None:
    """Refuse what can't be, before anything is trained."""
    assert method.recipe is not None
    stages, weights = method.options.stages, method.recipe.weights
    if request.train_store is not None and STAGE_3 in stages:
        raise UserError(
            "--train-dataset: stage 3 needs the fold's support scan, which is of the asked dataset; leave it "
            "out, or stage 3 (--stages 1,2)"
        )
    if weights != DENSECL and weights not in NAMED:
        if not Path(weights).is_file():
            raise UserError(f"--weights {weights!r} is no file; give one of `fewshot pretrain densecl`")
        about = pretraining_of(weights)
        if (about is not None) != (1 in stages):
            raise UserError(
                f"--weights {weights} is stage 1's ({about.kind} {about.key}); name 1 among the stages"
                if about is not None
                else f"--weights {weights} does not say how it was pre-trained, wanted a file of `fewshot "
                "pretrain densecl` for stage 1; leave stage 1 out (--stages 2,3) to start from another"
            )


def learns_labels(method: Method) -> bool:
    """Say whether a method has a stage 3: it takes labels of the training group."""
    return is_staged(method.learner) and STAGE_3 in method.options.stages


def check_labels(method: Method, plan: Plan, store: Store) -> None:
    """Raise `UserError` where stage 3 would find no label of a training group, before stage 1 is trained."""
    if learns_labels(method):
        annotated_pairs(store.index, store.spec, plan)


def with_last_recipe(method: Method, select: str) -> Method:
    """Return the method with the recipe of its last stage: what snapshots and steps of the model go by.

    Where a checkpoint is to be selected and the recipe's snapshots are too far apart for stage 3 to keep any,
    it keeps one whenever the rate would decay: other snapshots of stage 2 would be another stage 2.
    """
    if not learns_labels(method):
        return method
    assert method.recipe is not None
    options, every = method.options, method.recipe.snapshot_every
    if select != "last" and every >= options.stage3_steps:
        every = method.recipe.decay_every
    recipe = dataclasses.replace(
        method.recipe, steps=options.stage3_steps, learning_rate=options.stage3_rate, snapshot_every=every
    )
    return dataclasses.replace(method, recipe=recipe)


def ensure_pipeline(
    request: Request, method: Method, plan: Plan, store: Store, intensities: Normalisation
) -> Model:
    """Return the model that the method's stages come to, training those that are missing.

    `store` and `intensities` are of the training. Raises `UserError` where stage 1 saw a query, and where
    no label of a training group is to be had.
    """
    assert method.recipe is not None
    if method.recipe.weights == DENSECL:
        weights = str(_backbone(request, method, plan, store, intensities))
    else:
        weights = filled_in(method.recipe.weights, plan.fold)
    about = pretraining_of(weights)
    if about is not None:
        audit_backbone(plan, request.store, about)
    second = ensure_model(
        stage_2(method, weights), plan, store, intensities, request.work, request.device,
        request.checkpoint_every,
    )  # fmt: skip
    if method.recipe.weights == DENSECL:
        machines = read_record_extras(Path(weights).parent).get("trained_on", [])
        machines = merge_machines(machines, second.description["trained_on"])
        second = dataclasses.replace(second, description=second.description | {"trained_on": machines})
    if learns_labels(method):
        return _stage_3(request, method, plan, store, intensities, second, about)
    told = _told(method, second, about)
    stages = _with_skipped(told["stages"], {"2": second})
    return dataclasses.replace(second, description=second.description | told | {"stages": stages})


def stage_2(method: Method, weights: str) -> Method:
    """Return the base method whose training stage 2 is, from `weights`; left out, it has no steps."""
    assert method.recipe is not None
    name = str(method.learner.base)
    base = resolve_method(name)
    own = {field.name: getattr(method.options, field.name) for field in dataclasses.fields(base.Options)}
    recipe = dataclasses.replace(method.recipe, weights=weights)
    return dataclasses.replace(
        method, name=name, learner=base, options=base.Options(**own), recipe=recipe, marks=()
    )


def _backbone(request: Request, method: Method, plan: Plan, store: Store, intensities: Normalisation) -> Path:
    """Return the file of stage 1 for the training scans of a plan."""
    from protocols.pretraining import ensure_backbone

    assert method.recipe is not None
    path: Path = ensure_backbone(
        method.options, method.recipe.encoder, store, plan.training_scans, intensities, request.work,
        request.device, method.seed, precision=method.precision, checkpoint_every=request.checkpoint_every,
    )  # fmt: skip
    return path


def _stage_3(
    request: Request, method: Method, plan: Plan, store: Store, intensities: Normalisation, second: Model,
    about: Pretraining | None,
) -> Model:  # fmt: skip
    """Return the model of stage 2 trained on: superpixels, and labels of the training group among them."""
    third = with_last_recipe(method, request.select)
    recipe = third.recipe
    assert recipe is not None
    pseudo = KINDS[recipe.episode](store)
    pairs = annotated_pairs(store.index, store.spec, plan)
    every = [(name, *pair) for name, some in pairs.items() for pair in some]
    labels: dict[str, Any] = {
        "classes": list(pairs),
        "support_scans": sorted({support.scan for _, _, supports in every for support in supports}),
        "slices": len({query for _, query, _ in every}),
        "hash": hash_of([[name, query, supports] for name, query, supports in every])[:16],
    }
    own = fold_supports(store.index, store.spec, plan)
    if not set(labels["support_scans"]) & set(own):
        labels["in_place_of"] = list(own)  # tables say so: results/notes.py
    told = _told(method, second, about) | {"labels": labels}
    initial = told["initial_weights"]
    if is_pattern(recipe.weights):
        initial = second.description["initial_weights"]
    spec = model_spec(third, initial, plan, store, intensities.rule, pseudo.description)
    spec |= {"from": second.description["key"], "labels": labels, "told": told}
    learner = built(third)
    learner.load_state_dict(second.learner.state_dict())
    reader = SliceReader(store, intensities)
    seed = seed_for("stage 3", method.seed)  # other episodes than those that stage 2 began with
    source = MixedEpisodes(
        AnnotatedEpisodes(
            reader, pairs, store.spec.classes, seed=seed, augmentation=recipe.augmentation,
            batch=recipe.batch, prepare=learner.prepare,
        ),
        pseudo.episodes(reader, plan, recipe, seed, learner.prepare),
        method.options.annotated,
        seed=seed,
    )  # fmt: skip
    model = trained(
        third, learner, spec, source, about, request.work, request.device, request.checkpoint_every,
        f"fold {plan.fold} {plan.group} stage 3",
    )  # fmt: skip
    stages = {**told["stages"], "3": {"steps": recipe.steps}}
    machines = merge_machines(second.description["trained_on"], model.description["trained_on"])
    extras = {"stages": _with_skipped(stages, {"2": second, "3": model}), "trained_on": machines}
    return with_record_extras(model, extras)


def _with_skipped(stages: Mapping[str, Any], models: Mapping[str, Model]) -> dict[str, Any]:
    """Return the stages, each that draws episodes with how many of them its whole training skipped.

    No spec has these numbers: they are what a training came to. Stage 1 draws no episodes.
    """
    counts = {name: model.description["skipped_episodes"] for name, model in models.items()}
    return {
        name: told | ({"skipped_episodes": counts[name]} if name in counts else {})
        for name, told in stages.items()
    }


def _told(method: Method, second: Model, about: Pretraining | None) -> dict[str, Any]:
    """Return what the `model` part of a record says of all stages together.

    A backbone made here is another for every fold, so its weights go by stage 1's name and its key stands
    among the stages; files of a pattern go by the pattern's name. `steps` are those of stages 2 and 3,
    `recipe` is stage 2's; stage 3's numbers are options of the method.
    """
    assert method.recipe is not None
    stages: dict[str, Any] = {"2": {"key": second.description["key"], "steps": method.recipe.steps}}
    if about is not None:
        stages["1"] = {
            "key": about.key, "steps": about.steps, "source": about.source, "images": len(about.images),
        }  # fmt: skip
    initial = second.description["initial_weights"]
    if method.recipe.weights == DENSECL or is_pattern(method.recipe.weights):
        initial = told_of(method.recipe.weights)
    more = method.options.stage3_steps if learns_labels(method) else 0
    return {
        "initial_weights": initial,
        "steps": method.recipe.steps + more,
        "recipe": second.description["recipe"],
        "stages": stages,
    }
