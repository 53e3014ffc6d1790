"""Specs of trained models: their training inputs, their key, and their differences from a plan.

A spec names no protocol, setting or group. Equal training inputs give equal keys. Setting 1 excludes
nothing, so all groups of a fold share one model without a special case.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from episodes.plan.plan import Plan
from episodes.store.store import Store
from fewshot.base.atomic_io import hash_of
from fewshot.base.errors import UserError, short
from fewshot.base.input_files import read_json
from fewshot.identity.key_parts import method_key_part, weights_key_part
from fewshot.identity.versions import TRAINING, versions_of
from protocols.training.method import MethodConfig

SPEC_SCHEMA = 2
SPEC_TYPES: dict[str, type] = {
    "schema": int, "versions": dict, "dataset": str, "store": str, "training_scans": list,
    "training_slices_hash": str, "normalisation": str, "pseudo_labels": dict, "method": dict, "encoder": str,
    "initial_weights": dict, "recipe": dict, "seed": int, "image_size": int, "precision": str,
}  # fmt: skip
SPEC_METHOD = ("name", "version", "source", "options", "files")  # the fields of a method in a spec


def model_spec(
    method: MethodConfig, initial: dict[str, Any], plan: Plan, store: Store, rule: str, labels: dict[str, Any]
) -> dict[str, Any]:
    """Return everything a trained model depends on.

    Args:
        method: the method with its options and recipe.
        initial: `name` and `sha256` of the initial weights.
        plan: names the training scans and slices.
        store: the prepared dataset of the training.
        rule: the name of the intensity normalisation.
        labels: describes the pseudo-labels.
    """
    assert method.recipe is not None
    recipe = dataclasses.asdict(method.recipe)
    encoder = recipe.pop("encoder")
    recipe.pop("weights")
    slices = [list(ref) for ref in plan.training_slices]
    return {
        "schema": SPEC_SCHEMA,
        "versions": versions_of(TRAINING),
        "dataset": store.spec.name,
        "store": store.hash,
        "training_scans": list(plan.training_scans),
        "training_slices": len(slices),
        "training_slices_hash": hash_of(slices)[:16],
        "normalisation": rule,
        "pseudo_labels": labels,
        "method": {key: method.description[key] for key in SPEC_METHOD},
        "encoder": encoder,
        "initial_weights": initial,
        "recipe": recipe,
        "seed": method.seed,
        "image_size": store.spec.image_size,
        "precision": method.precision,
        "channels_last": True,
    } | ({"compiled": True} if method.compiled else {})


def read_model_spec(folder: Path) -> dict[str, Any]:
    """Return the spec of the model in `folder`, with every key of the types that `model_spec` gives.

    Raises `UserError` if spec.json is missing or damaged.
    """
    spec = read_json(folder / "spec.json", "expected the spec of a model: train it again")
    if not isinstance(spec, dict):
        raise damaged_spec(folder, f"it holds a {type(spec).__name__}")
    for name, kind in SPEC_TYPES.items():
        if type(spec.get(name)) is not kind:
            raise damaged_spec(folder, f"key {name} is {short(repr(spec.get(name)))}")
    for name, parts in {"method": SPEC_METHOD, "initial_weights": ("name", "sha256")}.items():
        if set(parts) - set(spec[name]):
            raise damaged_spec(folder, f"key {name} lacks {', '.join(sorted(set(parts) - set(spec[name])))}")
    if type(spec["method"]["name"]) is not str or type(spec["method"]["options"]) is not dict:
        raise damaged_spec(folder, "key method names no method with options")
    if type(spec["initial_weights"]["name"]) is not str:
        raise damaged_spec(folder, "key initial_weights names no weights")
    return spec


def damaged_spec(folder: Path, fault: str) -> UserError:
    """Return the error for a spec.json that no training here wrote."""
    return UserError(f"{folder / 'spec.json'} is damaged: {fault}; train the model again")


def model_key(spec: dict[str, Any]) -> str:
    """Return the first 16 hex digits of the sha256 of a spec's canonical content.

    The key leaves out file names (`method_key_part`) and the description of earlier stages, which follows
    from their keys.
    """
    content = {name: value for name, value in spec.items() if name != "told"}
    content["method"] = method_key_part(spec["method"])
    content["initial_weights"] = weights_key_part(spec["initial_weights"])
    return hash_of(content)[:16]


def training_differences(spec: Mapping[str, Any], plan: Plan, store: Store, rule: str) -> list[str]:
    """Return the differences between a model's training and `plan`, as texts; empty if the model fits."""
    slices = hash_of([list(ref) for ref in plan.training_slices])[:16]
    dropped = f"setting 2 drops by {plan.rules.exclusion}" if plan.setting == 2 else "setting 1 drops none"
    drops = f"training slices ({dropped})"
    labelled = labels_seen(spec, plan)
    supported = sorted(set(plan.query_scans) & set(spec.get("labels", {}).get("support_scans", ())))
    return [
        text
        for text, same in (
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
    """Return the tested classes of `plan` whose labels a training saw."""
    return sorted(set(plan.classes) & set(spec.get("labels", {}).get("classes", ())))


def scans_seen(spec: Mapping[str, Any]) -> set[str]:
    """Return the scans that a training saw: its own, and those that supported annotated episodes."""
    return {*spec["training_scans"], *spec.get("labels", {}).get("support_scans", ())}
