"""Audits of a cell before training and evaluation: conditions without which its number means nothing.

A failed audit stops the run with one line. The record lists the passed audits as `checks`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from episodes.plan.plan import CellPlan, EvaluationPlan
from episodes.plan.roles import integer_sorted
from episodes.store.slices import Normalisation
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.encoders.backbone_file import Pretraining, image_hash
from protocols.rules.spec import Protocol

FOLDS = "folds disjoint"
SUPPORT = "support not among queries"
PATIENTS = "frames of one patient in one fold"
IMAGES = "no image under two ids"
SCANS = "no training scan in the fold"
SLICES = "setting 2: no training slice shows a tested class"
INTENSITIES = "CT intensities from training scans only"
LABELS = "no label of a query scan in training"
BACKBONE = "pre-training saw no query slice"
TOLERANCE = 1e-9  # relative; the two ways of pooling differ by rounding alone


class AuditError(UserError):
    """An audit failed: the cell is not run."""


def audit_evaluation(plan: EvaluationPlan, store: Store, protocol: Protocol) -> tuple[str, ...]:
    """Return the passed audits of folds, supports and scans; raise `AuditError` for a failed one."""
    folds = _folds(store, protocol)
    seen: dict[str, int] = {}
    for number, fold in enumerate(folds):
        for scan in fold:
            if seen.setdefault(scan, number) != number:
                raise _audit_error(
                    FOLDS, plan, f"scan {scan} is in folds {seen[scan]} and {number}", "mend the folds"
                )
    both = sorted(set(plan.support_scans) & set(plan.query_scans))
    if both:
        raise _audit_error(
            SUPPORT, plan, f"{_names(both)} support and are queries", "mend the protocol's supports"
        )
    for patient, scans in store.spec.patients.items():
        held = {seen[scan] for scan in scans if scan in seen}
        if len(held) > 1:
            raise _audit_error(
                PATIENTS, plan, f"patient {patient} is in folds {_names(sorted(held))}",
                "move the fold borders so that a patient's scans stay together",
            )  # fmt: skip
    by_image: dict[str, str] = {}
    for scan, sha256 in store.image_hashes().items():
        if by_image.setdefault(sha256, scan) != scan:
            raise _audit_error(
                IMAGES, plan, f"scans {by_image[sha256]} and {scan} hold the same image",
                "prepare the dataset without the copy",
            )  # fmt: skip
    return (FOLDS, SUPPORT, PATIENTS, IMAGES)


def audit_training(
    plan: CellPlan, store: Store, training_scans: Sequence[str], intensities: Normalisation
) -> tuple[str, ...]:
    """Return the names of the passed audits of a training; raise `AuditError` for a failed one.

    `training_scans` are those of the model. `intensities` normalise its training and its evaluation. A
    protocol with the exclusion rule `intersection` shows tested classes to the training; its own flag marks
    it, no audit refuses it.
    """
    inside = sorted(set(training_scans) & set(plan.evaluation.query_scans))
    if inside:
        raise _audit_error(
            SCANS,
            plan.evaluation,
            f"{_names(inside)} are training scans and queries",
            "train a model for this fold",
        )
    of_intensities = check_intensities(plan.evaluation, store, training_scans, intensities)
    return (SCANS, *check_slices(plan, store), *of_intensities)


def audit_labels(plan: CellPlan) -> tuple[str, ...]:
    """Return the passed audit of a training on labels; raise `AuditError` if it reads a query's label."""
    queries = set(plan.evaluation.query_scans)
    read = sorted({ref.scan for ref in plan.training.slices} & queries)
    if read:
        raise _audit_error(
            LABELS, plan.evaluation, f"training reads labels of {_names(read)}, which are queries",
            "mend the protocol's folds",
        )  # fmt: skip
    return (LABELS,)


def check_slices(plan: CellPlan, store: Store) -> tuple[str, ...]:
    """Check, in setting 2, that no training slice shows a tested class; `store` holds the training slices."""
    evaluated, split = plan.evaluation, plan.training
    if split.setting == 1 or evaluated.rules.exclusion != "union":
        return ()
    for class_name in evaluated.classes:
        shown = {scan: set(store.index.slices_of(class_name, scan)) for scan in split.scans}
        for ref in split.slices:
            if ref.z in shown[ref.scan]:
                raise _audit_error(
                    SLICES, evaluated, f"slice {ref.z} of training scan {ref.scan} shows {class_name}",
                    "the plan is wrong: report it",
                )  # fmt: skip
    return (SLICES,)


def check_intensities(
    plan: EvaluationPlan, store: Store, training_scans: Sequence[str], intensities: Normalisation
) -> tuple[str, ...]:
    """Check CT intensities against statistics that exact sums pool independently of the reader."""
    if intensities.rule != "training-scans":
        return ()
    scans = [store.scan(scan) for scan in training_scans]
    count = sum(scan.count for scan in scans)
    mean = math.fsum(scan.count * scan.mean for scan in scans) / count
    m2 = math.fsum(scan.m2 + scan.count * (scan.mean - mean) ** 2 for scan in scans)
    std = math.sqrt(m2 / count)
    for scan, (own_mean, own_std) in intensities.mean_std.items():
        if abs(own_mean - mean) > TOLERANCE * std or abs(own_std - std) > TOLERANCE * std:
            raise _audit_error(
                INTENSITIES, plan,
                f"scan {scan} is normalised by {own_mean:.6g} and {own_std:.6g}, the training scans have "
                f"{mean:.6g} and {std:.6g}", "the program is wrong: report it",
            )  # fmt: skip
    return (INTENSITIES,)


def audit_backbone(plan: EvaluationPlan, store: Store, about: Pretraining) -> None:
    """Raise `AuditError` if a pre-training image is a slice of a query scan of the plan, in `store`."""
    audit_images(plan.query_scans, store, about, f"is a query of fold {plan.fold} of {plan.dataset}")


def audit_images(scans: Sequence[str], store: Store, about: Pretraining, why: str) -> None:
    """Raise `AuditError` if a pre-training image is a slice of `scans` in `store`.

    `why` completes the message "scan ID, which ...". Slices of one constant value are not compared, because
    all of them look alike.
    """
    seen = frozenset(about.images)
    for scan in scans:
        for z, stored in enumerate(store.scan(scan).image):
            if image_hash(stored) in seen and stored.min() != stored.max():
                raise AuditError(
                    f"audit failed, {BACKBONE}: the backbone of {about.kind} {about.key} ({about.source}) "
                    f"saw slice {z} of scan {scan}, which {why}; pre-train without that scan"
                )


def _folds(store: Store, protocol: Protocol) -> list[tuple[str, ...]]:
    scans = integer_sorted(store.index.scans)
    return [scans[start:stop] for start, stop in pairwise(protocol.fold_borders_for(store.spec))]


def _audit_error(audit: str, plan: EvaluationPlan, fault: str, remedy: str) -> AuditError:
    return AuditError(
        f"audit failed, {audit}: {fault} (fold {plan.fold}, group {plan.group} of {plan.dataset}); {remedy}"
    )


def _names(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
