"""A readable text of plans: folds, supports, queries, parts, scored and excluded slices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from episodes.plan.plan import CellPlan
from episodes.plan.rules import EvaluationRules
from fewshot.base.types import Task


def plans_text(plans: Sequence[CellPlan], protocol: str) -> str:
    """Return the text of `plans` of one dataset and setting, fold by fold, with every plan's hash."""
    if not plans:
        return "no plan"
    first, setting = plans[0].evaluation, plans[0].training.setting
    rules = first.rules
    fractions = ", ".join(f"{fraction:.3f}" for fraction in rules.support_fractions)
    lines = [
        f"plan of {first.dataset} (store {first.dataset_hash[:8]}), setting {setting}, {protocol}",
        f"  rules: support {rules.support_scan}, slices at {fractions} of its class slices, "
        f"parts {rules.part_rule}, scored {rules.scored}, {rules.shots} shot" + "s" * (rules.shots > 1),
        f"  training: {_training_rule(setting, rules)}",
        "  scored slices as first-last (of all slices), part borders marked |, slices outside not counted",
    ]
    for fold in dict.fromkeys(plan.evaluation.fold for plan in plans):
        of_fold = [plan for plan in plans if plan.evaluation.fold == fold]
        evaluated, trained = of_fold[0].evaluation, of_fold[0].training
        lines += [
            "",
            f"fold {fold}   support scan{'s' * (len(evaluated.support_scans) > 1)} "
            + ", ".join(dict.fromkeys(scan for plan in of_fold for scan in plan.evaluation.support_scans)),
        ]
        lines.append(f"  queries   {', '.join(evaluated.query_scans)}")
        lines.append(f"  training  {len(trained.scans)} scans: {', '.join(trained.scans)}")
        for plan in of_fold:
            lines += _group_lines(plan)
    return "\n".join(lines)


def _training_rule(setting: int, rules: EvaluationRules) -> str:
    if setting == 1:
        return "setting 1 keeps every slice of the training scans, tested classes unlabelled"
    return f"setting 2 drops training slices by {rules.exclusion} of the tested classes"


def _group_lines(cell: CellPlan) -> Iterable[str]:
    plan, dropped = cell.evaluation, len(cell.training.excluded)
    excluded = f"training slices excluded: {dropped} of {len(cell.training.slices) + dropped}"
    yield f"  group {plan.group}   plan {plan.hash}   {excluded}"
    width = max(len(name) for name in plan.classes)
    for class_name in plan.classes:
        tasks = [task for task in plan.tasks if task.class_name == class_name]
        if not tasks:
            yield f"    {class_name:<{width}}  absent from every query scan"
            continue
        yield f"    {class_name:<{width}}  {_support_text(tasks, plan.parts)}"
        for scan in plan.query_scans:
            reasons = [why for name, absent, why in plan.undefined if (name, absent) == (class_name, scan)]
            text = f"undefined: {reasons[0]}" if reasons else _query_text(tasks, scan, plan.parts)
            yield f"    {'':<{width}}  query {scan:<4} {text}"


def _support_text(tasks: Sequence[Task], parts: int) -> str:
    """Return the support slices: parts are separated by |, several support sets by ;."""
    first = tasks[0].queries[0].scan if tasks[0].queries else None
    first_tasks = [task for task in tasks if not task.queries or task.queries[0].scan == first]
    supports = list(dict.fromkeys(task.support for task in first_tasks)) if parts == 1 else []
    if len(supports) > 1:
        each = "; ".join(" ".join(f"{ref.scan}:{ref.z}" for ref in support) for support in supports)
        return f"{len(supports)} supports in turn, slices {each}"
    return "support slices " + " | ".join(
        " ".join(f"{ref.scan}:{ref.z}" for ref in task.support) for task in tasks[:parts]
    )


def _query_text(tasks: Sequence[Task], scan: str, parts: int) -> str:
    """Return the scored slices of one query scan, part by part, and the number of scored slices."""
    of_scan = [task for task in tasks if task.queries and task.queries[0].scan == scan]
    shown = []
    for part in range(parts):
        scored = {
            ref.z
            for task in of_scan
            if task.part == part
            for ref, counts in zip(task.queries, task.scored, strict=True)
            if counts
        }
        shown.append(
            "-" if not scored else f"{min(scored)}-{max(scored)}" if len(scored) > 1 else f"{min(scored)}"
        )
    every = {ref.z for task in of_scan for ref in task.queries}
    counted = {ref.z for task in of_scan for ref, hit in zip(task.queries, task.scored, strict=True) if hit}
    return f"{' | '.join(shown):<20} {len(counted)} of {len(every)} slices"
