"""The evaluation plan: query scans, support slices, parts and scored slices of a fold; needs no model.

`make_plan` derives a plan, pure data, from the class-slice index, a few facts of the dataset and the rules of
a protocol (`episodes/plan/rules.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol, TypeVar

from episodes.plan.rules import (
    EXCLUSIONS,
    PART_RULES,
    SCORED,
    SUPPORT_SCANS,
    EvaluationRules,
    Fold,
    ScanRoles,
)
from episodes.plan.supports import support_sets, support_slices
from episodes.store.index import ClassSliceIndex
from fewshot.base.atomic_io import hash_of
from fewshot.base.errors import UserError, unknown_name
from fewshot.base.types import SliceRef, Task

Rule = TypeVar("Rule")
SETTINGS = (1, 2)
__all__ = [
    "SETTINGS",
    "DatasetFacts",
    "EvaluationRules",
    "Plan",
    "integer_sorted",
    "make_plan",
    "scan_roles",
    "training_scans",
    "training_slices",
    "with_superpixel",
]


class DatasetFacts(Protocol):
    """The facts of a dataset that a plan needs; `episodes.store.dataset.DatasetSpec` has them.

    `classes`: class name -> stored value. Fold f holds positions fold_borders[f] .. fold_borders[f+1]-1
    of the scan ids sorted as integers.
    """

    @property
    def name(self) -> str: ...
    @property
    def classes(self) -> Mapping[str, int]: ...
    @property
    def fold_borders(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class Plan:
    """The evaluation tasks and the training slices of one fold and group; made by `make_plan`.

    `tasks`: one per class, query scan, support set and part, in that order; the parts of a scan cover all its
    slices. `undefined`: (class, query scan, reason) without a Dice. `training_slices`: slices of the
    training scans that the setting allows, with or without superpixel; `excluded`: those that it excludes.
    """

    dataset: str
    dataset_hash: str
    setting: int
    fold: int
    group: str
    classes: tuple[str, ...]
    rules: EvaluationRules
    query_scans: tuple[str, ...]
    support_scans: tuple[str, ...]
    training_scans: tuple[str, ...]
    training_slices: tuple[SliceRef, ...]
    excluded: tuple[SliceRef, ...]
    tasks: tuple[Task, ...]
    undefined: tuple[tuple[str, str, str], ...]

    @property
    def parts(self) -> int:
        """Return the number of parts into which a query scan is divided."""
        return len(self.rules.support_fractions)

    def _evaluation_json(self) -> dict[str, Any]:
        return {
            "dataset": {"name": self.dataset, "hash": self.dataset_hash},
            "fold": self.fold,
            "group": self.group,
            "classes": list(self.classes),
            "query_scans": list(self.query_scans),
            "support_scans": list(self.support_scans),
            "tasks": [
                {
                    "class": task.class_name,
                    "value": task.class_value,
                    "part": task.part,
                    "support": [list(ref) for ref in task.support],
                    "queries": [
                        [*ref, scored] for ref, scored in zip(task.queries, task.scored, strict=True)
                    ],
                }
                for task in self.tasks
            ],
            "undefined": [list(entry) for entry in self.undefined],
        }

    @cached_property
    def hash(self) -> str:
        """Return 16 hex digits of the sha256 of the evaluation; training and setting do not enter it."""
        return hash_of(self._evaluation_json())[:16]

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain JSON values; slices are [scan, z], queries [scan, z, scored]."""
        return {
            "plan_hash": self.hash,
            "setting": self.setting,
            "rules": {k: v for k, v in asdict(self.rules).items() if v or k != "listed_supports"},
            "evaluation": self._evaluation_json(),
            "training": {
                "scans": list(self.training_scans),
                "slices": [list(ref) for ref in self.training_slices],
                "excluded": [list(ref) for ref in self.excluded],
            },
        }


def make_plan(
    index: ClassSliceIndex,
    facts: DatasetFacts,
    dataset_hash: str,
    rules: EvaluationRules,
    setting: int,
    fold: int,
    group: str,
    class_names: Sequence[str],
) -> Plan:
    """Return the plan of one fold and group of tested classes.

    Args:
        index: class-slice index of the prepared dataset.
        facts: name, classes and fold borders of the dataset.
        dataset_hash: hash of the store, recorded in the plan.
        rules: evaluation rules of the protocol.
        setting: 1 or 2; setting 2 excludes training slices by the tested classes.
        fold: number of the fold, from 0.
        group: name of the group.
        class_names: tested classes of the group.

    Raises:
        UserError: a class, rule, setting or fold is unknown, the fold borders do not fit the scans, or a
            support scan does not show a class.
    """
    if setting not in SETTINGS:
        raise UserError(f"setting {setting} does not exist; give 1 or 2")
    for class_name in class_names:
        if class_name not in facts.classes:
            raise unknown_name(f"class of dataset {facts.name}", class_name, facts.classes)
    roles = scan_roles(index.scans, facts, rules, fold)
    tasks: list[Task] = []
    undefined: list[tuple[str, str, str]] = []
    used: dict[str, None] = {}
    for class_name in class_names:
        for support_scans in support_sets(index, roles, class_name, fold):
            used.update(dict.fromkeys(support_scans))
            supports = support_slices(index, rules, class_name, support_scans, fold)
            for scan in roles.queries:
                if not index.slices_of(class_name, scan):
                    undefined.append((class_name, scan, "class absent from the query scan"))
                    continue
                tasks += _tasks(index, rules, class_name, facts.classes[class_name], scan, supports)
    scans = training_scans(index.scans, roles)
    kept, dropped = training_slices(index, rules, setting, scans, class_names)
    return Plan(
        dataset=facts.name,
        dataset_hash=dataset_hash,
        setting=setting,
        fold=fold,
        group=group,
        classes=tuple(class_names),
        rules=rules,
        query_scans=roles.queries,
        support_scans=tuple(used),
        training_scans=scans,
        training_slices=kept,
        excluded=dropped,
        tasks=tuple(tasks),
        undefined=tuple(dict.fromkeys(undefined)),
    )


def scan_roles(scans: Sequence[str], facts: DatasetFacts, rules: EvaluationRules, fold: int) -> ScanRoles:
    """Return queries, supports and held-out scans of a fold; `UserError` if its borders do not fit."""
    borders = dict(rules.fold_borders).get(facts.name, facts.fold_borders)
    if (
        not borders
        or borders[-1] != len(scans)
        or borders[0] != 0
        or any(b <= a for a, b in pairwise(borders))
    ):
        count = borders[-1] if borders else 0
        raise UserError(
            f"dataset {facts.name}: {len(scans)} scans found, but its fold borders {list(borders)} are for "
            f"{count}; prepare the complete set or change the borders in its dataset file"
        )
    if not 0 <= fold < len(borders) - 1:
        raise UserError(f"fold {fold} does not exist; dataset {facts.name} has folds 0 to {len(borders) - 2}")
    rule = _rule("support scan rule", SUPPORT_SCANS, rules.support_scan)
    start, stop = borders[fold], borders[fold + 1]
    if len(scans) - (stop - start) < rules.shots + 1:
        raise UserError(
            f"dataset {facts.name}: fold {fold} holds {stop - start} of {len(scans)} scans; wanted at least "
            f"{rules.shots} more for support and one for training; give more scans or fewer shots"
        )
    listed = dict(rules.listed_supports).get(facts.name, ())
    if rules.support_scan == "listed" and fold >= len(listed):
        raise UserError(
            f"the protocol lists support scans for {len(listed)} folds of dataset {facts.name}, wanted fold "
            f"{fold} too; add it to its [supports]"
        )
    return rule(Fold(integer_sorted(scans), start, stop, rules.shots, listed[fold] if listed else ()))


def training_scans(scans: Sequence[str], roles: ScanRoles) -> tuple[str, ...]:
    """Return the scans that are not held out, in the order of the folds."""
    return tuple(scan for scan in integer_sorted(scans) if scan not in roles.held_out)


def integer_sorted(scans: Sequence[str]) -> tuple[str, ...]:
    """Return scan ids sorted as integers if all are integers, else in the given order."""
    return tuple(sorted(scans, key=int)) if all(scan.isdecimal() for scan in scans) else tuple(scans)


def with_superpixel(index: ClassSliceIndex, slices: Iterable[SliceRef]) -> tuple[SliceRef, ...]:
    """Return those of `slices` with a superpixel, from which training can draw a label."""
    shown = {scan: frozenset(positions) for scan, positions in index.superpixel_slices.items()}
    return tuple(ref for ref in slices if ref.z in shown.get(ref.scan, frozenset()))


def _tasks(
    index: ClassSliceIndex,
    rules: EvaluationRules,
    class_name: str,
    class_value: int,
    scan: str,
    supports: Sequence[tuple[SliceRef, ...]],
) -> Iterable[Task]:
    """Yield one task per part; slices outside the class range belong to the nearest part."""
    part_of = _rule("part rule", PART_RULES, rules.part_rule)
    counts = _rule("scoring rule", SCORED, rules.scored)
    slices = index.slices_of(class_name, scan)
    depth = range(index.depths[scan])
    for part, support in enumerate(supports):
        queries = [z for z in depth if part_of(z, slices, len(supports)) == part]
        yield Task(
            class_name,
            class_value,
            part,
            support,
            tuple(SliceRef(scan, z) for z in queries),
            tuple(counts(z, slices) for z in queries),
        )


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
    exclude = _rule("exclusion rule", EXCLUSIONS, rules.exclusion)
    dropped = {scan: exclude([index.slices_of(name, scan) for name in class_names]) for scan in scans}
    kept = tuple(ref for ref in every if ref.z not in dropped[ref.scan])
    return kept, tuple(ref for ref in every if ref.z in dropped[ref.scan])


def _rule(kind: str, rules: Mapping[str, Rule], name: str) -> Rule:
    if name not in rules:
        raise unknown_name(kind, name, rules)
    return rules[name]
