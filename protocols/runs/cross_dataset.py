"""Trained on one dataset, asked on another: all scans of the one, none of the other, classes by name.

Every fold has the same training, so one model serves all; in setting 2 there is one per group.
"""

from __future__ import annotations

import dataclasses
from types import MappingProxyType

from episodes.plan.plan import Plan, integer_sorted, training_slices
from episodes.store.slices import Normalisation, normalisation
from episodes.store.store import Store
from fewshot.base.errors import UserError
from protocols.rules.audits import AuditError, check_intensities, check_slices
from protocols.rules.spec import Protocol

UNSEEN = "no tested scan in the training dataset"
OWN_CT = "CT intensities per volume: no CT was trained on"


def check_pair(trained: Store, asked: Store) -> None:
    """Refuse two datasets that can't be crossed: one and the same, or slices of unequal size."""
    if trained.hash == asked.hash or trained.spec.name == asked.spec.name:
        raise UserError(
            f"--train-dataset {trained.spec.name} is the dataset that is asked; leave it out, or name another"
        )
    if trained.spec.image_size != asked.spec.image_size:
        raise UserError(
            f"--train-dataset {trained.spec.name} has slices of {trained.spec.image_size} pixels a side, "
            f"{asked.spec.name} of {asked.spec.image_size}; prepare both in one size"
        )


def cross_dataset_plan(plan: Plan, trained: Store) -> Plan:
    """Return a plan whose training is all of another dataset; what is asked stays, and so the plan's hash.

    Slices refer to `trained`. In setting 2 a class that it does not annotate is a `UserError`: nobody knows
    which of its slices show it.
    """
    if plan.setting == 2:
        for name in plan.classes:
            if name not in trained.spec.classes:
                raise UserError(
                    f"class {name!r} is not annotated in {trained.spec.name}, so setting 2 can't drop slices "
                    f"that show it (annotated: {', '.join(trained.spec.classes)}); use setting 1"
                )
    scans = integer_sorted(trained.index.scans)
    kept, dropped = training_slices(trained.index, plan.rules, plan.setting, scans, plan.classes)
    return dataclasses.replace(plan, training_scans=scans, training_slices=kept, excluded=dropped)


def cross_dataset_intensities(
    protocol: Protocol, trained: Store, asked: Store
) -> tuple[Normalisation, Normalisation, tuple[str, ...]]:
    """Return the intensities of the training, those of the asked scans, and marks.

    A rule that takes the training scans' statistics takes them to the asked scans where the modality is the
    same. Where it is not they mean nothing: each asked volume then goes by its own, and that is marked.
    """
    rules = protocol.training.normalisation
    ours = normalisation(trained, rules[trained.spec.modality], integer_sorted(trained.index.scans))
    if rules[asked.spec.modality] == "per-scan":
        return ours, normalisation(asked, "per-scan", ()), ()
    if trained.spec.modality != asked.spec.modality:
        return ours, normalisation(asked, "per-scan", ()), (OWN_CT,)
    shared = ours.mean_std[trained.index.scans[0]]
    every = MappingProxyType(dict.fromkeys(asked.index.scans, shared))
    return ours, Normalisation("training-scans", every), ()


def audit_cross_dataset(
    plan: Plan, trained: Store, asked: Store, intensities: Normalisation
) -> tuple[str, ...]:
    """Return the passed audits of a training on another dataset; raise `AuditError` for the first that fails.

    Ids of two datasets may coincide, so scans are told apart by their prepared images.
    """
    known = {sha256: scan for scan, sha256 in trained.image_hashes().items()}
    for scan, sha256 in asked.image_hashes().items():
        if sha256 in known:
            raise AuditError(
                f"audit failed, {UNSEEN}: scan {known[sha256]} of {trained.spec.name} and {scan} of "
                f"{asked.spec.name} hold the same image; train on a dataset without it"
            )
    of_scans = check_intensities(plan, trained, plan.training_scans, intensities)
    return (UNSEEN, *check_slices(plan, trained), *of_scans)
