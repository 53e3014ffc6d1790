"""Models by what they were trained from: the spec, its key, and training what is missing.

A spec names no protocol, setting or group. Equal training inputs give equal keys, so setting 1, which
excludes nothing, trains one model per fold that every group shares, with no special case.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from episodes.plan import Plan
from episodes.resident import episodes_of
from episodes.slices import Normalisation, SliceReader
from episodes.store import Store
from episodes.views import Prepare, Source
from fewshot.backbone_file import Pretraining, read_pretraining, to_json
from fewshot.checkpoints import load_state, load_weights, read_checkpoint
from fewshot.errors import UserError
from fewshot.files import hash_of, write_json
from fewshot.learner import PrototypeLearner, Recipe, encoder_for
from fewshot.locks import locked
from fewshot.registry import resolve_method, source_hash
from fewshot.seeds import seed_for
from fewshot.training import train
from protocols.pseudo_labels import KINDS

SPEC_SCHEMA = 1
PRETRAINING = "pretraining.json"  # beside a model's spec.json: fewshot/backbone_file.py
TOLD = "told.json"  # beside it too: what records say of a model and its key does not depend on
NAMED = ("random", "imagenet", "coco")  # initial weights that are no file of the user's


@dataclass(frozen=True)
class Method:
    """A method with its options and recipe settled: what `--method`, `--set` and `--steps` came to."""

    name: str
    learner: type[Any]
    options: Any
    recipe: Recipe | None  # None: nothing to train
    seed: int
    precision: str = "float32"
    compiled: bool = False  # whether the training step is: last bits differ, so it is another model
    marks: tuple[str, ...] = ()  # audits of every record made with it

    @property
    def description(self) -> dict[str, Any]:
        """Return the `method` part of a record."""
        labels = getattr(self.learner, "labels_used", "none")
        options = dataclasses.asdict(self.options)
        if issubclass(self.learner, PrototypeLearner):
            labels = self.learner.labels_of(self.options)
            weights = None if self.recipe is None else self.recipe.weights
            options = self.learner.used_options(self.options, weights)
        return {
            "name": self.name,
            "options": options,
            "source_hash": source_hash(self.learner),
            "regime": getattr(self.learner, "regime", "few-shot"),
            "labels_used": labels,
        }


@dataclass(frozen=True)
class Model:
    """A learner ready to answer, and the `model` part of its records."""

    learner: Any
    description: dict[str, Any]
    folder: Path | None  # None: not one of ours


def untrained_yardstick(method: Method) -> Model:
    """Return a learner that has nothing to train."""
    description = {
        "key": None,
        "encoder": None,
        "initial_weights": None,
        "steps": 0,
        "seed": method.seed,
        "checkpoint": "none",
        "skipped_episodes": 0,
    }
    return Model(method.learner(method.options), description, None)


def new_learner(method: Method, weights_folder: Path) -> tuple[PrototypeLearner, dict[str, Any]]:
    """Build the method on its encoder with its initial weights; return it and {"name", "sha256"} of them."""
    assert method.recipe is not None
    learner = built(method)
    initial = load_weights(method.recipe.weights, learner.encoder, weights_folder)
    return learner, {"name": initial.name, "sha256": initial.sha256}


def built(method: Method) -> PrototypeLearner:
    """Return the method on its encoder, random by the seed, in the memory layout that is fastest."""
    assert method.recipe is not None
    encoder = encoder_for(method.learner, method.recipe.encoder, method.seed)
    with torch.random.fork_rng(devices=[]):  # a method's own layers draw their first weights here
        torch.manual_seed(seed_for("learner", method.seed))
        learner: PrototypeLearner = method.learner(encoder, method.options)
    cast(Any, learner).to(memory_format=torch.channels_last)
    return learner


def model_spec(
    method: Method, initial: dict[str, Any], plan: Plan, store: Store, rule: str, labels: dict[str, Any]
) -> dict[str, Any]:
    """Return everything a trained model depends on.

    `rule` names the intensity normalisation, `labels` describes the pseudo-labels.
    """
    assert method.recipe is not None
    recipe = dataclasses.asdict(method.recipe)
    encoder = recipe.pop("encoder")
    recipe.pop("weights")
    slices = [list(ref) for ref in plan.training_slices]
    return {
        "schema": SPEC_SCHEMA,
        "dataset": store.spec.name,
        "store": store.hash,
        "training_scans": list(plan.training_scans),
        "training_slices": len(slices),
        "training_slices_hash": hash_of(slices)[:16],
        "normalisation": rule,
        "pseudo_labels": labels,
        "method": {key: method.description[key] for key in ("name", "options", "source_hash")},
        "encoder": encoder,
        "initial_weights": initial,
        "recipe": recipe,
        "seed": method.seed,
        "image_size": store.spec.image_size,
        "precision": method.precision,
        "channels_last": True,
    } | ({"compiled": True} if method.compiled else {})


def model_key(spec: dict[str, Any]) -> str:
    """Return the first 16 hex digits of the sha256 of the canonical spec."""
    return hash_of(spec)[:16]


def training_differences(spec: Mapping[str, Any], plan: Plan, store: Store, rule: str) -> list[str]:
    """Return in words what a model's training had otherwise than `plan` asks for; empty: it fits."""
    slices = hash_of([list(ref) for ref in plan.training_slices])[:16]
    dropped = f"setting 2 drops by {plan.rules.exclusion}" if plan.setting == 2 else "setting 1 drops none"
    drops = f"training slices ({dropped})"
    labelled = labels_seen(spec, plan)
    supported = sorted(set(plan.query_scans) & set(spec.get("labels", {}).get("support_scans", ())))
    return [
        words
        for words, same in (
            ("prepared dataset", spec["store"] == store.hash),
            ("training scans", spec["training_scans"] == list(plan.training_scans)),
            (drops, spec["training_slices_hash"] == slices),
            ("normalisation", spec["normalisation"] == rule),
            (f"labels (training saw those of {', '.join(labelled)})", not labelled),
            (f"queries (training saw labels of scan {', '.join(supported)})", not supported),
        )
        if not same
    ]


def labels_seen(spec: Mapping[str, Any], plan: Plan) -> list[str]:
    """Return the classes that `plan` tests and a training saw labels of."""
    return sorted(set(plan.classes) & set(spec.get("labels", {}).get("classes", ())))


def scans_seen(spec: Mapping[str, Any]) -> set[str]:
    """Return the scans that a training saw: its own, and those that supported annotated episodes."""
    return {*spec["training_scans"], *spec.get("labels", {}).get("support_scans", ())}


def ensure_model(
    method: Method, plan: Plan, store: Store, normalisation: Normalisation, work: Path, device: torch.device,
    checkpoint_every: int,
) -> Model:  # fmt: skip
    """Return the model that `plan`'s training rules ask for, trained to its last step.

    Trains what is missing (from the last checkpoint on) and reuses what is there. Two processes that
    want the same model take turns, so it is trained once.
    """
    assert method.recipe is not None
    learner, initial = new_learner(method, work / "weights")
    labels = KINDS[method.recipe.episode](store)
    spec = model_spec(method, initial, plan, store, normalisation.rule, labels.description)
    reader = SliceReader(store, normalisation)
    source = labels.episodes(reader, plan, method.recipe, method.seed, host_work(learner))
    about = pretraining_of(method.recipe.weights)
    title = f"fold {plan.fold}"
    return trained(method, learner, spec, source, about, work, device, checkpoint_every, title)


def host_work(learner: PrototypeLearner) -> Prepare | None:
    """Return what the learner works out on the host when an episode is built; None where that is nothing."""
    return None if type(learner).prepare is PrototypeLearner.prepare else learner.prepare


def trained(
    method: Method, learner: PrototypeLearner, spec: dict[str, Any], source: Source,
    about: Pretraining | None, work: Path, device: torch.device, checkpoint_every: int, title: str,
) -> Model:  # fmt: skip
    """Return the model of a spec, its learner trained on the episodes of `source` to the recipe's last step.

    `about`: how the backbone was made, where that is known; it is kept beside the spec.
    """
    assert method.recipe is not None
    key = model_key(spec)
    folder = work / "models" / key
    # by name, as in the spec: the same file under another path is the same training
    recipe = dataclasses.replace(method.recipe, weights=spec["initial_weights"]["name"])
    with locked(work / "locks" / f"{key}.lock"):
        if not (folder / "spec.json").exists():
            if about is not None:
                write_json(folder / PRETRAINING, to_json(about))
            write_json(folder / "spec.json", spec)
        result = train(
            learner, recipe, folder, seed=method.seed, device=device, precision=method.precision,
            checkpoint_every=checkpoint_every, channels_last=True, whole=method.compiled,
            title=f"{title} {key}",
            episodes=lambda steps: episodes_of(source, device)(steps),
        )  # fmt: skip
    learner.eval()
    return Model(learner, _description(spec, key, result.skipped), folder)


def pretraining_of(weights: str) -> Pretraining | None:
    """Return how the backbone of `--weights` was made: known of a file that says so, else None."""
    path = Path(weights)
    return None if weights in NAMED or not path.is_file() else read_pretraining(path)


def open_model(folder: Path, device: torch.device) -> tuple[Method, dict[str, Any], Model]:
    """Return the method, spec and model of a finished training in `folder`, without training."""
    spec = json.loads((folder / "spec.json").read_text())
    cls = resolve_method(spec["method"]["name"])
    options = cls.Options(**spec["method"]["options"])
    weights = spec["initial_weights"]["name"]
    recipe = Recipe(**spec["recipe"], encoder=spec["encoder"], weights=weights)
    method = Method(
        spec["method"]["name"], cls, options, recipe, spec["seed"], spec["precision"], _compiled(spec)
    )
    if method.description["source_hash"] != spec["method"]["source_hash"]:
        raise UserError(
            f"model {folder.name} was trained with another version of {method.name} "
            f"(source {spec['method']['source_hash']}, now {method.description['source_hash']}); train again"
        )
    learner = built(method)
    state = read_checkpoint(folder / "last.pt")
    if int(state["step"]) != recipe.steps:
        raise UserError(
            f"model {folder.name} stands at step {int(state['step'])} of {recipe.steps}; "
            "finish it with the `fewshot run` command that began it"
        )
    load_state(learner, state["model"], folder / "last.pt")
    learner.to(device).eval()
    description = _description(spec, folder.name, int(state["skipped"])) | _told_beside(folder)
    return method, spec, Model(learner, description, folder)


def keep_told(model: Model, told: dict[str, Any]) -> Model:
    """Return the model with `told` in the `model` part of its records, those of `fewshot evaluate` too."""
    assert model.folder is not None
    if _told_beside(model.folder) != told:
        write_json(model.folder / TOLD, told)
    return dataclasses.replace(model, description=model.description | told)


def _told_beside(folder: Path) -> dict[str, Any]:
    path = folder / TOLD
    told: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return told


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
        **spec.get("told", {}),  # of the stages before this one: protocols/pipeline.py
    }


def _compiled(spec: Mapping[str, Any]) -> bool:
    return bool(spec.get("compiled", False))
