"""Specs of trained models: their training inputs, and their differences from a plan.

A spec names no protocol, setting or group. Equal training inputs give equal keys. Setting 1 excludes
nothing, so all groups of a fold share one model without a special case.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from episodes.plan.plan import CellPlan, EvaluationPlan
from episodes.plan.training_split import TrainingSplit
from episodes.store.store import Store
from fewshot.base.types import SliceRef
from fewshot.files.atomic_io import hash_of
from fewshot.identity.versions import SUPERVISED_TRAINING, TRAINING, versions_of
from protocols.regimes.labelled import DESCRIPTION, labels_part, sentences_part
from protocols.training.method import MethodConfig
from protocols.training.spec_file import METHOD

SPEC_SCHEMA = 2


def model_spec(
    method: MethodConfig,
    initial: dict[str, Any],
    split: TrainingSplit,
    store: Store,
    rule: str,
    labels: dict[str, Any],
) -> dict[str, Any]:
    """Return everything a trained model depends on.

    Args:
        method: the method with its options and recipe.
        initial: `name` and `sha256` of the initial weights.
        split: the training scans and slices.
        store: the prepared dataset of the training.
        rule: the name of the intensity normalisation.
        labels: describes the pseudo-labels.
    """
    assert method.recipe is not None
    recipe = dataclasses.asdict(method.recipe)
    description = method.description
    encoder = recipe.pop("encoder")
    recipe.pop("weights")
    return {
        "schema": SPEC_SCHEMA,
        "versions": versions_of(TRAINING),
        "dataset": store.spec.name,
        "store": store.hash,
        "training_scans": list(split.scans),
        "training_slices": len(split.slices),
        "training_slices_hash": _slices_hash(split.slices),
        "normalisation": rule,
        "pseudo_labels": labels,
        "method": {key: description[key] for key in METHOD},
        "encoder": encoder,
        "initial_weights": initial,
        "recipe": recipe,
        "seed": method.seed,
        "image_size": store.spec.image_size,
        "precision": method.precision,
        "channels_last": True,
    } | ({"compiled": True} if method.compiled else {})


def supervised_spec(
    method: MethodConfig, initial: dict[str, Any], plan: CellPlan, store: Store, rule: str
) -> dict[str, Any]:
    """Return the spec of a training on labels of the tested classes; arguments as `model_spec`."""
    spec = model_spec(method, initial, plan.training, store, rule, DESCRIPTION)
    labels = labels_part(plan) | sentences_part(method.learner, method.options)
    regime = {"regime": method.description["regime"], "labels": labels}
    return spec | {"versions": versions_of(SUPERVISED_TRAINING)} | regime


@lru_cache(maxsize=1024)
def _slices_hash(slices: tuple[SliceRef, ...]) -> str:
    return hash_of([list(ref) for ref in slices])[:16]


def training_differences(spec: Mapping[str, Any], plan: CellPlan, store: Store, rule: str) -> list[str]:
    """Return the differences between a model's training and `plan`, as texts; empty if the model fits."""
    evaluated, split = plan.evaluation, plan.training
    slices = _slices_hash(split.slices)
    dropped = (
        f"setting 2 drops by {evaluated.rules.exclusion}" if split.setting == 2 else "setting 1 drops none"
    )
    drops = f"training slices ({dropped})"
    labelled = labels_seen(spec, evaluated)
    classes = ", ".join(spec["labels"]["classes"]) if spec.get("regime") else ""
    supported = sorted(set(evaluated.query_scans) & set(spec.get("labels", {}).get("support_scans", ())))
    return [
        text
        for text, same in (
            ("prepared dataset", spec["store"] == store.hash),
            ("training scans", spec["training_scans"] == list(split.scans)),
            (drops, spec["training_slices_hash"] == slices),
            ("normalisation", spec["normalisation"] == rule),
            (f"labels (training saw those of {', '.join(labelled)})", not labelled),
            (f"tested classes (trained on {classes})", classes in ("", ", ".join(evaluated.classes))),
            (f"queries (training saw labels of scan {', '.join(supported)})", not supported),
        )
        if not same
    ]


def labels_seen(spec: Mapping[str, Any], plan: EvaluationPlan) -> list[str]:
    """Return the tested classes of `plan` whose labels a few-shot training saw."""
    if spec.get("regime"):  # a training on labels of the tested classes
        return []
    return sorted(set(plan.classes) & set(spec.get("labels", {}).get("classes", ())))


def scans_seen(spec: Mapping[str, Any]) -> set[str]:
    """Return the scans that a training saw: its own, and those that supported annotated episodes."""
    return {*spec["training_scans"], *spec.get("labels", {}).get("support_scans", ())}
