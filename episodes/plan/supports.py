"""Support sets of a class, and the support slice of each part: the middle one by the plan's fractions."""

from __future__ import annotations

from collections.abc import Sequence

from episodes.plan.rules import EvaluationRules, ScanRoles
from episodes.store.index import ClassSliceIndex
from fewshot.base.errors import UserError
from fewshot.base.types import SliceRef


def support_sets(
    index: ClassSliceIndex, roles: ScanRoles, class_name: str, fold: int
) -> tuple[tuple[str, ...], ...]:
    """Return the support sets of a class: all, or only those that show it if the roles are `admissible_only`.

    Raises `UserError` if no set shows the class.
    """
    if not roles.admissible_only:
        return roles.supports
    shown = tuple(
        scans for scans in roles.supports if all(index.slices_of(class_name, scan) for scan in scans)
    )
    if not shown:
        raise UserError(
            f"class {class_name!r} is absent from every support of fold {fold}; expected a scan outside the "
            "fold that shows it; check the label files or leave out the group or fold"
        )
    return shown


def support_slices(
    index: ClassSliceIndex, rules: EvaluationRules, class_name: str, scans: Sequence[str], fold: int
) -> list[tuple[SliceRef, ...]]:
    """Return the support slices of every part, one per shot; `UserError` if a scan lacks the class."""
    for scan in scans:
        if not index.slices_of(class_name, scan):
            raise UserError(
                f"class {class_name!r} is absent from scan {scan!r}, the support of fold {fold}; expected at "
                "least one annotated slice there; check the label file or leave out the group or fold"
            )
    parts = []
    for fraction in rules.support_fractions:
        shown = [(scan, index.slices_of(class_name, scan)) for scan in scans]
        parts.append(tuple(SliceRef(scan, slices[int(fraction * len(slices))]) for scan, slices in shown))
    return parts
