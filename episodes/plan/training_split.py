"""The training split: the scans and slices that a fold and group leave for training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from episodes.plan.roles import integer_sorted
from episodes.plan.rules import EXCLUSIONS, EvaluationRules, ScanRoles, named_rule
from episodes.store.index import ClassSliceIndex
from fewshot.base.types import SliceRef


@dataclass(frozen=True)
class TrainingSplit:
    """The data that training may use in one fold and group; made by `training_split`.

    `scans`: the training scans, in the order of the folds; `slices`: their slices that the setting allows,
    with or without superpixel; `excluded`: those that it excludes.
    """

    setting: int
    scans: tuple[str, ...]
    slices: tuple[SliceRef, ...]
    excluded: tuple[SliceRef, ...]

    def without_scan(self, scan: str) -> TrainingSplit:
        """Return the split without one of its scans."""
        return TrainingSplit(
            self.setting,
            tuple(other for other in self.scans if other != scan),
            tuple(ref for ref in self.slices if ref.scan != scan),
            tuple(ref for ref in self.excluded if ref.scan != scan),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the scans and slices as plain JSON values; a slice is [scan, z]."""
        return {
            "scans": list(self.scans),
            "slices": [list(ref) for ref in self.slices],
            "excluded": [list(ref) for ref in self.excluded],
        }


def training_split(
    index: ClassSliceIndex,
    rules: EvaluationRules,
    setting: int,
    scans: tuple[str, ...],
    class_names: Sequence[str],
) -> TrainingSplit:
    """Return the split of training scans.

    Args:
        index: class-slice index of the dataset of the training.
        rules: evaluation rules of the protocol, with the exclusion rule.
        setting: 1 or 2; setting 2 excludes slices by the tested classes.
        scans: the training scans.
        class_names: tested classes of the group.

    Raises:
        UserError: the exclusion rule is unknown.
    """
    kept, dropped = training_slices(index, rules, setting, scans, class_names)
    return TrainingSplit(setting, scans, kept, dropped)


def training_scans(scans: Sequence[str], roles: ScanRoles) -> tuple[str, ...]:
    """Return the scans that are not held out, in the order of the folds."""
    return tuple(scan for scan in integer_sorted(scans) if scan not in roles.held_out)


def training_slices(
    index: ClassSliceIndex,
    rules: EvaluationRules,
    setting: int,
    scans: tuple[str, ...],
    class_names: Sequence[str],
) -> tuple[tuple[SliceRef, ...], tuple[SliceRef, ...]]:
    """Return the slices that training may use, and those that setting 2 excludes."""
    every = index.all_slices(scans)
    if setting == 1:
        return every, ()
    exclude = named_rule("exclusion rule", EXCLUSIONS, rules.exclusion)
    dropped = {scan: exclude([index.slices_of(name, scan) for name in class_names]) for scan in scans}
    kept = tuple(ref for ref in every if ref.z not in dropped[ref.scan])
    return kept, tuple(ref for ref in every if ref.z in dropped[ref.scan])


def with_superpixel(index: ClassSliceIndex, slices: Iterable[SliceRef]) -> tuple[SliceRef, ...]:
    """Return those of `slices` with a superpixel, from which training can draw a label."""
    shown = {scan: frozenset(positions) for scan, positions in index.superpixel_slices.items()}
    return tuple(ref for ref in slices if ref.z in shown.get(ref.scan, frozenset()))
