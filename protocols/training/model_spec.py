"""What a trained model depends on: its spec, the key made of it, and how a spec fits a plan.

A spec names no protocol, setting or group. Equal training inputs give equal keys, so setting 1, which
excludes nothing, trains one model per fold that every group shares, with no special case.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from episodes.plan.plan import Plan
from episodes.store.store import Store
from fewshot.base.atomic_io import hash_of
from fewshot.identity.key_parts import method_key_part, weights_key_part
from fewshot.identity.versions import TRAINING, versions_of
from protocols.training.method import MethodConfig

SPEC_SCHEMA = 2
SPEC_METHOD = ("name", "version", "source", "options", "files")  # what a spec holds of a method


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


def model_key(spec: dict[str, Any]) -> str:
    """Return the first 16 hex digits of the sha256 of a spec's canonical content.

    Names of files are no content (`method_key_part`), and what the spec says of earlier stages follows from
    their keys.
    """
    content = {name: value for name, value in spec.items() if name != "told"}
    content["method"] = method_key_part(spec["method"])
    content["initial_weights"] = weights_key_part(spec["initial_weights"])
    return hash_of(content)[:16]


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
