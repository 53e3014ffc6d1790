"""Training on all scans of one dataset and testing on another; classes correspond by name.

Every fold has the same training, so one model serves all folds (in setting 2, one model per group).
"""

from __future__ import annotations

from types import MappingProxyType

from episodes.plan.plan import CellPlan
from episodes.plan.roles import integer_sorted
from episodes.plan.training_split import training_split
from episodes.store.slices import Normalisation, normalisation
from episodes.store.store import Store
from fewshot.base.errors import UserError
from protocols.rules.audits import AuditError, check_intensities, check_slices
from protocols.rules.spec import Protocol

UNSEEN = "no tested scan in the training dataset"
OWN_CT = "CT intensities per volume: no CT was trained on"


def check_pair(train_store: Store, test_store: Store) -> None:
    """Raise `UserError` if the two datasets are the same, or if their slices differ in size."""
    if train_store.hash == test_store.hash or train_store.spec.name == test_store.spec.name:
        raise UserError(
            f"--train-dataset {train_store.spec.name} is the tested dataset; leave it out, or name another"
        )
    if train_store.spec.image_size != test_store.spec.image_size:
        raise UserError(
            f"--train-dataset {train_store.spec.name} has slices of {train_store.spec.image_size} pixels "
            f"a side, {test_store.spec.name} of {test_store.spec.image_size}; prepare both in one size"
        )


def cross_dataset_plan(plan: CellPlan, train_store: Store) -> CellPlan:
    """Return the plan with all scans of another dataset as training scans; its evaluation stays.

    Training slices refer to `train_store`. Raises `UserError` in setting 2 if the training dataset does not
    annotate a tested class, because the slices to drop are then unknown.
    """
    evaluated, setting = plan.evaluation, plan.training.setting
    if setting == 2:
        for name in evaluated.classes:
            if name not in train_store.spec.classes:
                raise UserError(
                    f"class {name!r} is not annotated in {train_store.spec.name}, so setting 2 can't drop "
                    f"slices that show it (annotated: {', '.join(train_store.spec.classes)}); use setting 1"
                )
    scans = integer_sorted(train_store.index.scans)
    split = training_split(train_store.index, evaluated.rules, setting, scans, evaluated.classes)
    return CellPlan(evaluated, split)


def cross_dataset_intensities(
    protocol: Protocol, train_store: Store, test_store: Store
) -> tuple[Normalisation, Normalisation, tuple[str, ...]]:
    """Return the intensities of the training scans, the intensities of the test scans, and marks.

    Training-set statistics are reused only within a modality; otherwise each test volume uses its own and the
    record is marked.
    """
    rules = protocol.training.normalisation
    ours = normalisation(
        train_store, rules[train_store.spec.modality], integer_sorted(train_store.index.scans)
    )
    if rules[test_store.spec.modality] == "per-scan":
        return ours, normalisation(test_store, "per-scan", ()), ()
    if train_store.spec.modality != test_store.spec.modality:
        return ours, normalisation(test_store, "per-scan", ()), (OWN_CT,)
    shared = ours.mean_std[train_store.index.scans[0]]
    every = MappingProxyType(dict.fromkeys(test_store.index.scans, shared))
    return ours, Normalisation("training-scans", every), ()


def audit_cross_dataset(
    plan: CellPlan, train_store: Store, test_store: Store, intensities: Normalisation
) -> tuple[str, ...]:
    """Return the passed audits of a training on another dataset; raise `AuditError` for a failed one.

    Two datasets may use the same ids, so the audit compares hashes of the prepared images.
    """
    known = {sha256: scan for scan, sha256 in train_store.image_hashes().items()}
    for scan, sha256 in test_store.image_hashes().items():
        if sha256 in known:
            raise AuditError(
                f"audit failed, {UNSEEN}: scan {known[sha256]} of {train_store.spec.name} and {scan} of "
                f"{test_store.spec.name} hold the same image; train on a dataset without it"
            )
    of_scans = check_intensities(plan.evaluation, train_store, plan.training.scans, intensities)
    return (UNSEEN, *check_slices(plan, train_store), *of_scans)
