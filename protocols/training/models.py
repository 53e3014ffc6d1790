"""Trained models under WORK/models: found by the key of their spec, trained if they are missing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from episodes.plan.plan import CellPlan
from episodes.sampling.base import EpisodeSource, Prepare
from episodes.sampling.device_sampler import episodes_of
from episodes.store.slices import Normalisation, SliceReader
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.seeds import seed_for
from fewshot.encoders.backbone_file import Pretraining, read_pretraining, to_json
from fewshot.encoders.checkpoints import NAMED, checkpoint_entry, load_state, load_weights, read_checkpoint
from fewshot.encoders.foundation import FROZEN
from fewshot.files.atomic_io import canonical_json
from fewshot.files.locks import locked
from fewshot.files.seals import check_hash, write_sealed
from fewshot.files.temporaries import clear_dead
from fewshot.identity.key_parts import method_key_part
from fewshot.identity.regimes import trains_on_labels
from fewshot.learners.learner import PrototypeLearner, encoder_for
from fewshot.learners.recipe import Recipe
from fewshot.learners.registry import known_methods, resolve_method
from fewshot.training.loop import train, training_of
from protocols.regimes.labelled import labelled_slices
from protocols.training.method import MethodConfig
from protocols.training.model_spec import model_spec, supervised_spec
from protocols.training.pseudo_labels import KINDS
from protocols.training.record_extras import add_machine, read_record_extras, save_record_extras
from protocols.training.spec_file import FILE, REMEDY, damaged_spec, model_key, read_model_spec, write_spec
from protocols.training.training_time import log_training

LAST = "last.pt"
PRETRAINING = "pretraining.json"  # beside a model's spec.json: fewshot/encoders/backbone_file.py


@dataclass(frozen=True)
class Model:
    """A learner in evaluation mode, and the `model` part of its records."""

    learner: Any
    description: dict[str, Any]
    folder: Path | None  # None: not under WORK/models


def build_yardstick(method: MethodConfig) -> Model:
    """Return a learner that has nothing to train."""
    description: dict[str, Any] = {
        "key": None,
        "encoder": None,
        "initial_weights": None,
        "steps": 0,
        "seed": method.seed,
        "checkpoint": "none",
        "skipped_episodes": 0,
        "trained_on": [],
    }
    return Model(method.learner(method.options), description, None)


def new_learner(
    method: MethodConfig, weights_folder: Path, classes: tuple[str, ...]
) -> tuple[PrototypeLearner, dict[str, Any]]:
    """Return the method on its encoder with its initial weights, and the weights' {"name", "sha256"}.

    `classes` as in `build_learner`.
    """
    assert method.recipe is not None
    learner = build_learner(method, classes)
    initial = load_weights(method.recipe.weights, learner.encoder, weights_folder)
    return learner, {"name": initial.name, "sha256": initial.sha256}


def build_learner(method: MethodConfig, classes: tuple[str, ...] = ()) -> PrototypeLearner:
    """Return the method on its encoder with random weights by the seed, in channels-last layout.

    `classes`: the tested classes, for a method that trains on their labels; the others have no use for them.
    """
    assert method.recipe is not None
    encoder = encoder_for(method.learner, method.recipe.encoder, method.seed)
    with torch.random.fork_rng(devices=[]):  # a method's own layers draw their first weights here
        torch.manual_seed(seed_for("learner", method.seed))
        outputs = (classes,) if trains_on_labels(method.learner) else ()
        learner: PrototypeLearner = method.learner(encoder, method.options, *outputs)
    cast(Any, learner).to(memory_format=torch.channels_last)
    return learner


def ensure_model(
    method: MethodConfig,
    plan: CellPlan,
    store: Store,
    normalisation: Normalisation,
    work: Path,
    device: torch.device,
    checkpoint_every: int,
) -> Model:
    """Return the model of `plan`'s training scans and slices, trained to its last step.

    A finished model is reused; an unfinished training resumes from its last checkpoint. A lock lets only one
    process train a model.
    """
    assert method.recipe is not None
    learner, initial = new_learner(method, work / "weights", plan.evaluation.classes)
    check_trainable(method, learner)
    if trains_on_labels(method.learner):
        return _supervised_model(
            method, learner, initial, plan, store, normalisation, work, device, checkpoint_every
        )
    labels = KINDS[method.recipe.episode](store)
    spec = model_spec(method, initial, plan.training, store, normalisation.rule, labels.description)
    reader = SliceReader(store, normalisation)
    source = labels.episodes(reader, plan.training, method.recipe, method.seed, host_preparation(learner))
    about = find_pretraining(method.recipe.weights)
    title = f"fold {plan.evaluation.fold}"
    return train_model(method, learner, spec, source, about, work, device, checkpoint_every, title)


def _supervised_model(
    method: MethodConfig, learner: PrototypeLearner, initial: dict[str, Any], plan: CellPlan, store: Store,
    normalisation: Normalisation, work: Path, device: torch.device, checkpoint_every: int,
) -> Model:  # fmt: skip
    """Return the model of a method that trains on labels of tested classes; arguments as `ensure_model`."""
    assert method.recipe is not None
    spec = supervised_spec(method, initial, plan, store, normalisation.rule)
    source = labelled_slices(
        SliceReader(store, normalisation), plan, store, method.learner, method.recipe, method.seed,
        method.options,
    )  # fmt: skip
    about = find_pretraining(method.recipe.weights)
    title = f"fold {plan.evaluation.fold} {plan.evaluation.group}"
    return train_model(method, learner, spec, cast(Any, source), about, work, device, checkpoint_every, title)


def check_trainable(method: MethodConfig, learner: PrototypeLearner) -> None:
    """Raise `UserError` if a recipe has steps and no weight of the learner has a gradient."""
    assert method.recipe is not None
    if method.recipe.steps and not any(parameter.requires_grad for parameter in learner.parameters()):
        encoder = method.recipe.encoder
        raise UserError(
            f"{method.name} on {encoder} has no weight to train, expected 0 steps, found "
            f"{method.recipe.steps}; give --steps 0, or --encoder {encoder.removesuffix(FROZEN)}"
        )


def host_preparation(learner: PrototypeLearner) -> Prepare | None:
    """Return the learner's own `prepare`, which runs on the host for each episode; None without one."""
    return None if type(learner).prepare is PrototypeLearner.prepare else learner.prepare


def train_model(
    method: MethodConfig, learner: PrototypeLearner, spec: dict[str, Any], source: EpisodeSource,
    about: Pretraining | None, work: Path, device: torch.device, checkpoint_every: int, title: str,
) -> Model:  # fmt: skip
    """Return the model of a spec, its learner trained on the episodes of `source` to the recipe's last step.

    `about`: the pre-training of the backbone, None if unknown; it is saved beside the spec.
    """
    assert method.recipe is not None
    key = model_key(spec)
    folder = work / "models" / key
    # by its hash: the same file under another name is the same training
    start = spec["initial_weights"]
    recipe = dataclasses.replace(method.recipe, weights=start["sha256"] or start["name"])
    with locked(work / "locks" / f"{key}.lock"):
        clear_dead(folder)
        if not (folder / FILE).exists():
            if about is not None:
                write_sealed(folder / PRETRAINING, to_json(about))
            write_spec(folder, spec)
        read_model_spec(folder)
        if not is_finished(folder, recipe.steps):
            add_machine(folder, device)
        result = train(
            learner, recipe, folder, seed=method.seed, device=device, precision=method.precision,
            checkpoint_every=checkpoint_every, channels_last=True, compiled=method.compiled,
            title=f"{title} {key}", training=training_identity(key, spec),
            episodes=lambda steps: episodes_of(source, device)(steps),
        )  # fmt: skip
    learner.eval()
    log_training(work, key, result, cost_factors(spec), device)
    description = _description(spec, key, result.skipped)
    return Model(learner, description | _trained_on(folder), folder)


def cost_factors(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the seconds of a training step depend on, besides the machine."""
    return {
        "method": spec["method"]["name"],
        "encoder": spec["encoder"],
        "image_size": spec["image_size"],
        "batch": spec["recipe"]["batch"],
        "precision": spec["precision"],
        "compiled": _compiled(spec),
    }


def is_finished(folder: Path, steps: int) -> bool:
    """Return whether the training in `folder` has reached its last step."""
    path = folder / LAST
    return path.exists() and checkpoint_entry(read_model_checkpoint(folder), "step", int, path) == steps


def training_identity(key: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what each checkpoint of a model holds of its training: key, dataset, training scans."""
    return {"key": key} | {name: spec[name] for name in ("dataset", "store", "training_scans")}


def read_model_checkpoint(folder: Path, name: str = LAST) -> dict[str, Any]:
    """Return the content of a checkpoint in WORK/models/KEY.

    Raises `UserError` if it is damaged, was changed, or belongs to another model than KEY.
    """
    path = folder / name
    if path.is_file():
        check_hash(path, REMEDY)
    state = read_checkpoint(path)
    found = training_of(state).get("key")
    key = folder.name if folder.name not in ("", "..") else folder.resolve().name
    if found != key:
        raise UserError(f"{path} is of model {found}, expected {key}: it was copied; {REMEDY}")
    return state


def find_pretraining(weights: str) -> Pretraining | None:
    """Return the pre-training that the file of `--weights` holds; None for a name or another file."""
    path = Path(weights)
    return None if weights in NAMED or not path.is_file() else read_pretraining(path)


def open_model(
    folder: Path, device: torch.device, typed: str | None = None
) -> tuple[MethodConfig, dict[str, Any], Model]:
    """Return the method, spec and model of a finished training in `folder`, without training.

    Args:
        folder: holds `spec.json` and `last.pt`; its name is the model's key.
        device: where the learner is put.
        typed: the method as the user named it. A user's own file runs only if the user names it; built-in
            and installed methods need no name.

    Raises:
        UserError: unfinished training; a changed file; or the method, its version, its code or a file that
            its options name differs from the training.
    """
    spec = read_model_spec(folder)
    cls = _spec_learner(folder, spec, typed)
    weights = spec["initial_weights"]["name"]
    try:
        options = cls.Options(**spec["method"]["options"])
        recipe = Recipe(**spec["recipe"], encoder=spec["encoder"], weights=weights)
    except TypeError as error:
        raise damaged_spec(folder, str(error)) from None
    method = MethodConfig(
        typed or spec["method"]["name"], cls, options, recipe, spec["seed"], spec["precision"],
        _compiled(spec),
    )  # fmt: skip
    _check_same_method(folder, method, spec)
    learner = build_learner(method, tuple(spec.get("labels", {}).get("classes", ())))
    path = folder / LAST
    state = read_model_checkpoint(folder)
    step = checkpoint_entry(state, "step", int, path)
    if step != recipe.steps:
        raise UserError(
            f"model {folder.name} stands at step {step} of {recipe.steps}; "
            "finish it with the `fewshot run` command that began it"
        )
    load_state(learner, checkpoint_entry(state, "model", dict, path), path)
    learner.to(device).eval()
    description = _description(spec, folder.name, checkpoint_entry(state, "skipped", int, path))
    return method, spec, Model(learner, description | {"trained_on": []} | read_record_extras(folder), folder)


def _spec_learner(folder: Path, spec: Mapping[str, Any], typed: str | None) -> type[Any]:
    """Return the class of a spec's method; a file's code runs only if the user named the file."""
    name = spec["method"]["name"]
    if typed is None and name not in known_methods():
        raise UserError(
            f"model {folder.name} is of the user's method {name}, whose code runs only by name: add --method "
            f"{'FILE.py' if '.py:' in name else name.partition(':')[0]}:{name.rpartition(':')[2]}"
        )
    return resolve_method(typed or name)


def _check_same_method(folder: Path, method: MethodConfig, spec: Mapping[str, Any]) -> None:
    """Raise `UserError` if the method differs from that of the training; the message names the difference."""
    now, then = (method_key_part(part) for part in (method.description, spec["method"]))
    texts = {
        "name": "method", "version": "version", "source": "code", "options": "options",
        "files": "content of a file that an option names",
    }  # fmt: skip
    for part, text in texts.items():
        if canonical_json(now[part]) != canonical_json(then[part]):  # tuples are lists in a file
            raise UserError(
                f"model {folder.name} was trained with another {text} of {spec['method']['name']} "
                f"({then[part]}, now {now[part]}); train again, or give what it was trained with"
            )


def with_record_extras(model: Model, extras: Mapping[str, Any]) -> Model:
    """Return the model with `extras` in the `model` part of its records; save them for later runs."""
    assert model.folder is not None
    save_record_extras(model.folder, extras)
    return dataclasses.replace(model, description=model.description | dict(extras))


def _trained_on(folder: Path) -> dict[str, Any]:
    return {"trained_on": read_record_extras(folder).get("trained_on", [])}


def _description(spec: dict[str, Any], key: str, skipped: int) -> dict[str, Any]:
    return {
        "key": key,
        "encoder": spec["encoder"],
        "initial_weights": spec["initial_weights"],
        "steps": spec["recipe"]["steps"],
        "seed": spec["seed"],
        "checkpoint": "last",
        "skipped_episodes": skipped,
        "recipe": spec["recipe"],
        "precision": spec["precision"],
        **({"compiled": True} if _compiled(spec) else {}),
        **_pseudo_labels(spec),
        **({"labels": spec["labels"]} if spec.get("regime") else {}),
        **spec.get("told", {}),  # earlier stages: protocols/training/stages.py
    }


def _pseudo_labels(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return kind and hash of the pseudo-labels for the record; empty for a training on labels."""
    about = spec["pseudo_labels"]
    return {"pseudo_labels": {name: about[name] for name in ("kind", "hash")}} if "hash" in about else {}


def _compiled(spec: Mapping[str, Any]) -> bool:
    return bool(spec.get("compiled", False))
