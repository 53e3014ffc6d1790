"""Plans of one fold and group: what is evaluated, and what may be trained on; needs no model.

`make_plan` derives both, pure data, from the class-slice index, a few facts of the dataset and the rules of a
protocol (`episodes/plan/rules.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from episodes.plan.roles import DatasetFacts, scan_roles
from episodes.plan.rules import PART_RULES, SCORED, EvaluationRules, ScanRoles, named_rule
from episodes.plan.supports import support_sets, support_slices
from episodes.plan.training_split import TrainingSplit, training_scans, training_split
from episodes.store.index import ClassSliceIndex
from fewshot.base.errors import UserError, unknown_name
from fewshot.base.types import SliceRef, Task
from fewshot.files.atomic_io import hash_of

SETTINGS = (1, 2)


@dataclass(frozen=True)
class EvaluationPlan:
    """The evaluation tasks of one fold and group. They depend on no setting and no training.

    `tasks`: one per class, query scan, support set and part, in that order; the parts of a scan cover all its
    slices. `undefined`: (class, query scan, reason) without a Dice.
    """

    dataset: str
    dataset_hash: str
    fold: int
    group: str
    classes: tuple[str, ...]
    rules: EvaluationRules
    query_scans: tuple[str, ...]
    support_scans: tuple[str, ...]
    tasks: tuple[Task, ...]
    undefined: tuple[tuple[str, str, str], ...]

    @property
    def parts(self) -> int:
        """Return the number of parts into which a query scan is divided."""
        return len(self.rules.support_fractions)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain JSON values; support slices are [scan, z], queries [scan, z, scored]."""
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
        """Return 16 hex digits of the sha256 of the plan."""
        return hash_of(self.to_json())[:16]


@dataclass(frozen=True)
class CellPlan:
    """The evaluation plan and the training split of one fold and group; made by `make_plan`."""

    evaluation: EvaluationPlan
    training: TrainingSplit

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain JSON values, an entry of a plan file."""
        rules = asdict(self.evaluation.rules)
        return {
            "plan_hash": self.evaluation.hash,
            "setting": self.training.setting,
            "rules": {k: v for k, v in rules.items() if v or k != "listed_supports"},
            "evaluation": self.evaluation.to_json(),
            "training": self.training.to_json(),
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
) -> CellPlan:
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
    evaluation = _evaluation_plan(index, facts, dataset_hash, rules, roles, fold, group, class_names)
    scans = training_scans(index.scans, roles)
    return CellPlan(evaluation, training_split(index, rules, setting, scans, class_names))


def _evaluation_plan(
    index: ClassSliceIndex, facts: DatasetFacts, dataset_hash: str, rules: EvaluationRules, roles: ScanRoles,
    fold: int, group: str, class_names: Sequence[str],
) -> EvaluationPlan:  # fmt: skip
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
    return EvaluationPlan(
        dataset=facts.name,
        dataset_hash=dataset_hash,
        fold=fold,
        group=group,
        classes=tuple(class_names),
        rules=rules,
        query_scans=roles.queries,
        support_scans=tuple(used),
        tasks=tuple(tasks),
        undefined=tuple(dict.fromkeys(undefined)),
    )


def _tasks(
    index: ClassSliceIndex,
    rules: EvaluationRules,
    class_name: str,
    class_value: int,
    scan: str,
    supports: Sequence[tuple[SliceRef, ...]],
) -> Iterable[Task]:
    """Yield one task per part; slices outside the class range belong to the nearest part."""
    part_of = named_rule("part rule", PART_RULES, rules.part_rule)
    counts = named_rule("scoring rule", SCORED, rules.scored)
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
