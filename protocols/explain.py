"""One question of a protocol and one model's answer to it, taken apart for a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from episodes.plan import make_plan, scan_roles
from episodes.slices import Normalisation, SliceReader, normalisation
from episodes.store import Store
from fewshot.errors import UserError, unknown_name
from fewshot.registry import resolve_explainer
from fewshot.types import SliceRef, Task
from protocols.crossed import check_pair, crossed_intensities
from protocols.models import Model
from protocols.spec import Protocol
from results.explained import Explained


@dataclass(frozen=True)
class Asked:
    """A task of a protocol, the query slice of it that is looked at, its fold, and whether it is scored."""

    task: Task
    query: SliceRef
    fold: int
    scored: bool


def find_question(
    store: Store, protocol: Protocol, scan: str, class_name: str, group: str | None, z: int | None
) -> Asked:
    """Return what the protocol asks about a class in a slice of a scan, in the fold that asks the scan.

    `z` none: of the scored slices the one with most pixels of the class. `group` none: the first that tests
    the class. Where every support is asked in turn, the first. Raises `UserError` for a scan, class, group or
    slice that is not there, and for a class that the scan does not show.
    """
    index, rules = store.index, protocol.evaluation
    if scan not in index.scans:
        raise unknown_name(f"scan of {store.spec.name}", scan, index.scans)
    groups = protocol.groups_for(store.spec)
    if group is not None and group not in groups:
        raise unknown_name(f"group of {store.spec.name}", group, groups)
    chosen = groups if group is None else {group: groups[group]}
    testing = [name for name, classes in chosen.items() if class_name in classes]
    if not testing:
        known = {name for classes in chosen.values() for name in classes}
        raise unknown_name(f"tested class of {group or store.spec.name}", class_name, known)
    if not index.slices_of(class_name, scan):
        shown = [name for name in store.spec.tested if index.slices_of(name, scan)]
        raise UserError(
            f"class {class_name!r} is absent from scan {scan}, which shows {', '.join(shown) or 'none'}; "
            "choose one of these or another scan"
        )
    depth = index.depths[scan]
    if z is not None and not 0 <= z < depth:
        raise UserError(f"--slice {z}: scan {scan} has slices 0 to {depth - 1}; choose one of them")
    fold = next(
        fold
        for fold in range(len(protocol.fold_borders_for(store.spec)) - 1)
        if scan in scan_roles(index.scans, store.spec, rules, fold).queries
    )
    plan = make_plan(index, store.spec, store.hash, rules, 1, fold, testing[0], (class_name,))
    first = [task for task in plan.tasks if task.queries and task.queries[0].scan == scan]
    asked = [
        Asked(task, ref, fold, scored)
        for task in first[: plan.parts]
        for ref, scored in zip(task.queries, task.scored, strict=True)
    ]
    if z is not None:
        return next(one for one in asked if one.query.z == z)
    value, labels = store.spec.classes[class_name], store.scan(scan).labels
    return max(
        (one for one in asked if one.scored),
        key=lambda one: (int((labels[one.query.z] == value).sum()), -one.query.z),
    )


def intensities_for(
    spec: Mapping[str, Any], name: str, protocol: Protocol, home: Store, store: Store, scan: str
) -> Normalisation:
    """Return how the scans of `store` are normalised for a model trained on scans of `home`.

    Raises `UserError` where `home` is not what it was, where the model was trained on `scan`, and where the
    two stores differ but the model was not trained on all of `home`.
    """
    if spec["store"] != home.hash:
        raise UserError(
            f"model {name} was trained on another prepared dataset: {spec['store']}, {home.path} is "
            f"{home.hash}; prepare it as it was, or train again"
        )
    trained = spec["training_scans"]
    if home.spec.name == store.spec.name:
        if scan in trained:
            unseen = ", ".join(one for one in store.index.scans if one not in trained)
            raise UserError(
                f"model {name} was trained on scan {scan}; choose one it has not seen: {unseen or 'none'}"
            )
        return normalisation(home, spec["normalisation"], trained)
    check_pair(home, store)
    if set(trained) != set(home.index.scans):
        raise UserError(
            f"model {name} was trained on {len(trained)} of {len(home.index.scans)} scans of "
            f"{home.spec.name}; to look at {store.spec.name}, give a model of run --train-dataset"
        )
    return crossed_intensities(protocol, home, store)[1]


def explained(
    method: str, model: Model, asked: Asked, reader: SliceReader, device: torch.device
) -> Explained:
    """Return the answer to one query slice, taken apart, as host arrays.

    Support and query go through the encoder as `segment` sends them, so the variant that was trained gives
    the mask that `segment` gives.
    """
    explain = resolve_explainer(method)
    task = asked.task
    masks = torch.stack([torch.from_numpy(reader.mask(ref, task.class_value)) for ref in task.support])
    with torch.inference_mode():
        features = model.learner.encode(reader.images([*task.support, asked.query]).to(device))
        shots = len(task.support)
        found = explain(model.learner, features[:shots], masks.to(device), features[shots:])
    support = task.support[0]
    return Explained(
        support_image=reader.image(support),
        support_mask=masks[0].numpy(),
        seeds=found.seeds[0][found.seeded[0]].cpu().numpy(),
        places=found.places[0][found.counts[0]].cpu().numpy(),
        weights=found.weights[0][found.counts[0]].cpu().numpy(),
        note=found.note,
        query_image=reader.image(asked.query),
        truth=reader.mask(asked.query, task.class_value),
        nearest=found.nearest.cpu().numpy(),
        kinds=dict(found.kinds),
        answers={name: mask.cpu().numpy() for name, mask in found.answers.items()},
        trained=found.trained,
        support_name=f"scan {support.scan}, slice {support.z}" + (f", shot 1 of {shots}" * (shots > 1)),
        query_name=f"scan {asked.query.scan}, slice {asked.query.z}" + ("" if asked.scored else ", unscored"),
    )
