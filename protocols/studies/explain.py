"""Explanation of one mask: the query slice of a protocol, and the output of a model's `explain` for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from episodes.plan.plan import make_plan
from episodes.plan.roles import scan_roles
from episodes.store.slices import Normalisation, SliceReader, normalisation
from episodes.store.store import Store
from fewshot.base.errors import UserError, unknown_name
from fewshot.base.types import SliceRef, Support, Task
from fewshot.studies.explanation import DetailPrototypes, check_explanation
from protocols.rules.spec import Protocol
from protocols.runs.cross_dataset import check_pair, cross_dataset_intensities
from protocols.training.method import MethodConfig
from protocols.training.models import Model
from results.figures.explanation import SliceExplanation


@dataclass(frozen=True)
class ExplainTarget:
    """A task of a protocol, one of its query slices, the scan's fold, and whether the slice is scored."""

    task: Task
    query: SliceRef
    fold: int
    scored: bool


def find_target(
    store: Store, protocol: Protocol, scan: str, class_name: str, group: str | None, z: int | None
) -> ExplainTarget:
    """Return the target that a protocol evaluates for a class in a slice of a scan, in the scan's fold.

    Args:
        store: The dataset of the scan.
        protocol: Names the support slices; the first of several supports in turn is used.
        scan: The query scan's id.
        class_name: A tested class.
        group: The group of the class; None: the first that tests it.
        z: The query slice; None: the scored slice with the largest area of the class.

    Raises:
        UserError: The scan, class, group or slice does not exist, or the scan does not show the class.
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
    plan = make_plan(index, store.spec, store.hash, rules, 1, fold, testing[0], (class_name,)).evaluation
    first = [task for task in plan.tasks if task.queries and task.queries[0].scan == scan]
    targets = [
        ExplainTarget(task, ref, fold, scored)
        for task in first[: plan.parts]
        for ref, scored in zip(task.queries, task.scored, strict=True)
    ]
    if z is not None:
        return next(target for target in targets if target.query.z == z)
    value, labels = store.spec.classes[class_name], store.scan(scan).labels
    return max(
        (target for target in targets if target.scored),
        key=lambda target: (int((labels[target.query.z] == value).sum()), -target.query.z),
    )


def intensities_for(
    spec: Mapping[str, Any], name: str, protocol: Protocol, home: Store, store: Store, scan: str
) -> Normalisation:
    """Return the intensities of the scans of `store` for a model that was trained on scans of `home`.

    Raises:
        UserError: `home` is not the store of the training; the model was trained on `scan`; or the stores
            differ and the model was not trained on all scans of `home`.
    """
    if spec["store"] != home.hash:
        raise UserError(
            f"model {name} was trained on another prepared dataset: {spec['store']}, {home.path} is "
            f"{home.hash}; prepare it as it was, or train again"
        )
    trained = spec["training_scans"]
    if home.spec.name == store.spec.name:
        if scan in trained:
            unseen = ", ".join(other for other in store.index.scans if other not in trained)
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
    return cross_dataset_intensities(protocol, home, store)[1]


def explain_slice(
    method: MethodConfig, model: Model, target: ExplainTarget, reader: SliceReader, device: torch.device
) -> SliceExplanation:
    """Return the method's explanation of its mask for one query slice, as host arrays of the first shot.

    The method must have `explain` (`fewshot.studies.offers.check_explainer`). Raises `UserError` if the
    result of `explain` does not have the form of `Explanation`.
    """
    task = target.task
    shots = len(task.support)
    masks = torch.stack([torch.from_numpy(reader.mask(ref, task.class_value)) for ref in task.support])
    images = reader.images([*task.support, target.query]).to(device)
    with torch.inference_mode():
        found = model.learner.explain(Support(images[:shots], masks.to(device)), images[shots:])
    check_explanation(found, method.name, shots, (images.shape[-2], images.shape[-1]))
    support = task.support[0]
    return SliceExplanation(
        support_image=reader.image(support),
        support_mask=masks[0].numpy(),
        **_first_shot_arrays(found.details),
        note=found.note,
        query_image=reader.image(target.query),
        truth=reader.mask(target.query, task.class_value),
        nearest=None if found.nearest is None else found.nearest.cpu().numpy(),
        kinds=dict(found.kinds),
        masks={name: mask.cpu().numpy() for name, mask in found.masks.items()},
        trained=found.trained,
        support_name=f"scan {support.scan}, slice {support.z}" + (f", shot 1 of {shots}" * (shots > 1)),
        query_name=f"scan {target.query.scan}, slice {target.query.z}"
        + ("" if target.scored else ", unscored"),
    )


def _first_shot_arrays(details: DetailPrototypes | None) -> dict[str, Any]:
    """Return the first shot's seeds and detail prototypes, empty for a method without them."""
    if details is None:
        none = torch.zeros(0, 2)
        arrays = {"seeds": none, "places": none, "weights": torch.zeros(0, 1, 1)}
    else:
        arrays = {"seeds": details.seeds[0][details.seeded[0]]}
        arrays |= {name: getattr(details, name)[0][details.counts[0]] for name in ("places", "weights")}
    grid = tuple(arrays["weights"].shape[1:])
    return {"grid": grid} | {name: value.cpu().numpy() for name, value in arrays.items()}
