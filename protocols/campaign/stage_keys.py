"""Keys of the stages of a training before it is trained: which stages are shared, which are finished.

A key depends on the files of earlier stages, so it is known once these are trained. The identity of a stage
depends on inputs alone: equal identities give equal keys. No weights are loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from episodes.contrastive.images import Pictures, open_slices
from episodes.plan.plan import CellPlan
from episodes.store.slices import Normalisation
from episodes.store.store import Store
from fewshot.encoders.backbone_file import Pretraining
from fewshot.encoders.checkpoints import weights_file
from fewshot.encoders.foundation import is_foundation
from fewshot.files.atomic_io import hash_of, sha256_of
from fewshot.identity.regimes import trains_on_labels
from fewshot.training.log import LOSSES, last_step
from protocols.request import Request
from protocols.runs.external_checkpoint import with_labels_of_start
from protocols.training.fold_weights import fill_fold, has_fold_placeholder, weights_label
from protocols.training.method import MethodConfig
from protocols.training.model_spec import model_spec, supervised_spec
from protocols.training.models import LAST, Model, build_yardstick, cost_factors, find_pretraining
from protocols.training.pseudo_labels import known_description
from protocols.training.spec_file import backbone_key, model_key
from protocols.training.stages import (
    first_method,
    later_method,
    later_spec,
    makes_backbone,
    plan_training,
    with_last_recipe,
)

KnownPictures = dict[tuple[Path, tuple[str, ...], str], Pictures]
NOT_COMPUTED = {"kind": "not computed"}


@dataclass(frozen=True)
class StageKey:
    """One stage of a training.

    Attributes:
        name: the stage in records.
        identity: 16 hex digits, equal for equal stages of one listing: the key once it is known.
        key: of its folder under WORK/models or WORK/backbones; None while it is not known.
        finished: whether its weights are there.
        steps_left: steps until its end.
        factors: what the seconds of a step depend on.
    """

    name: str
    identity: str
    key: str | None
    finished: bool
    steps_left: int
    factors: dict[str, Any]


def stage_keys(
    request: Request,
    method: MethodConfig,
    plan: CellPlan,
    store: Store,
    intensities: Normalisation,
    pictures: KnownPictures,
) -> list[StageKey]:
    """Return the stages of the training that `plan` needs, in order; arguments as `ensure_trained`.

    `pictures` keeps the slices of pre-trainings between calls, because their hashes take seconds.

    Raises `UserError` if the file of the initial weights is missing.
    """
    assert method.recipe is not None
    stages: list[StageKey] = []
    weights = fill_fold(method.recipe.weights, plan.evaluation.fold)
    initial: dict[str, Any] | None
    if makes_backbone(method):
        place = (store.path, plan.training.scans, intensities.rule)
        if place not in pictures:
            pictures[place] = open_slices(store, plan.training.scans, intensities)
        stages.append(_backbone(request, method, pictures[place], intensities.rule))
        file = request.work / "backbones" / str(stages[0].key) / "backbone.pt"
        initial = {"name": file.name, "sha256": _sha256_of(file)} if stages[0].finished else None
        later_initial: dict[str, Any] | None = weights_label(method.recipe.weights)
    else:
        initial = later_initial = _initial(weights, method.recipe.encoder, request.work / "weights")
    first, *later = plan_training(method).episode_stages
    own, rule = first_method(method, weights), intensities.rule
    start = initial or {"name": weights, "sha256": None}
    if trains_on_labels(own.learner):
        spec = supervised_spec(own, start, plan, store, rule)
        return [*stages, _stage(request.work, first.name, spec, initial is not None, stages)]
    labels = _labels(own, store)
    spec = model_spec(own, start, plan.training, store, rule, labels)
    is_known = initial is not None and labels is not NOT_COMPUTED
    stages.append(_stage(request.work, first.name, spec, is_known, stages))
    for stage in later:
        own = later_method(method, stage, request.checkpoint_policy)
        assert later_initial is not None
        labels, before = _labels(own, store), stages[-1]
        key = before.key or before.identity
        spec = later_spec(own, stage, later_initial, plan, store, rule, labels, key)
        is_known = before.key is not None and labels is not NOT_COMPUTED
        stages.append(_stage(request.work, stage.name, spec, is_known, stages))
    return stages


def expected_model(
    request: Request, method: MethodConfig, plan: CellPlan, stages: list[StageKey]
) -> tuple[MethodConfig, Model] | None:
    """Return the method and the model by which `run` will name the cells; None while no key is known.

    The model has no learner. Its description holds what the keys of its cells depend on.

    Args:
        request: work folder and checkpoint policy.
        method: with the constants of the dataset.
        plan: of the cell.
        stages: of the training, from `stage_keys`; empty for a method without training.
    """
    if method.recipe is None:
        return method, build_yardstick(method)
    key = stages[-1].key
    if key is None:
        return None
    training = plan_training(method)
    weights = fill_fold(method.recipe.weights, plan.evaluation.fold)
    has_pretraining = makes_backbone(method) or _pretraining(weights) is not None
    backbone_part = [{"images": 0}] if has_pretraining and training.backbone_stage is not None else []
    description: dict[str, Any] = {
        "key": key,
        "encoder": method.recipe.encoder,
        "checkpoint": request.checkpoint_policy,
        "stages": backbone_part,
    }
    if not has_pretraining:
        initial = _initial(weights, method.recipe.encoder, request.work / "weights")
        if has_fold_placeholder(method.recipe.weights):
            initial = weights_label(method.recipe.weights)
        description["initial_weights"] = initial
    model = Model(None, description, request.work / "models" / key)
    if not has_pretraining:
        method = with_labels_of_start(method, model)
    return with_last_recipe(method, request.checkpoint_policy), model


def _backbone(request: Request, method: MethodConfig, pictures: Pictures, rule: str) -> StageKey:
    from protocols.training.pretraining import PretrainingSettings, backbone_spec, pretraining_factors

    assert method.recipe is not None
    stage = plan_training(method).backbone_stage
    assert stage is not None
    own = PretrainingSettings(
        stage.recipe, method.recipe.encoder, method.seed, request.device, precision=method.precision
    )
    spec = backbone_spec(own, pictures, rule, {"name": "random", "sha256": None}, 1)
    key = backbone_key(spec)
    folder = request.work / "backbones" / key
    finished = (folder / "backbone.pt").is_file()
    steps = stage.recipe.epochs * (len(pictures) // stage.recipe.batch)
    left = 0 if finished else max(0, steps - last_step(folder / LOSSES))
    return StageKey(stage.name, key, key, finished, left, pretraining_factors(own))


def _stage(work: Path, name: str, spec: dict[str, Any], is_known: bool, before: list[StageKey]) -> StageKey:
    """Return an episode stage by its spec, whose key is final if `is_known`."""
    key = model_key(spec)
    steps = int(spec["recipe"]["steps"])
    folder = work / "models" / key
    step = last_step(folder / LOSSES) if is_known else 0
    finished = is_known and (folder / LAST).is_file() and step == steps
    identity = key if is_known else hash_of([before[-1].identity if before else "", key])[:16]
    return StageKey(
        name, identity, key if is_known else None, finished, max(0, steps - step), cost_factors(spec)
    )


def _labels(method: MethodConfig, store: Store) -> dict[str, Any]:
    assert method.recipe is not None
    return known_description(method.recipe.episode, store) or NOT_COMPUTED


def _initial(weights: str, encoder: str, folder: Path) -> dict[str, Any]:
    """Return name and sha256 of initial weights as `load_weights` names them, without loading them."""
    path = weights_file(weights, encoder, folder)
    if path is None:
        return {"name": "random", "sha256": None}
    if is_foundation(encoder):
        return {"name": path.parent.name, "sha256": _sha256_of(path)}
    name = weights if weights in ("imagenet", "coco") else path.name
    return {"name": name, "sha256": _sha256_of(path)}


def _sha256_of(path: Path) -> str:
    about = path.stat()
    return _sha256_at(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=1024)
def _sha256_at(path: Path, _time: int, _size: int) -> str:
    return sha256_of(path)


@lru_cache(maxsize=256)
def _pretraining(weights: str) -> Pretraining | None:
    return find_pretraining(weights)
