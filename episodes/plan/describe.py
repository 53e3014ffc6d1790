"""A readable text of plans: folds, supports, queries, parts, scored and excluded slices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from episodes.plan.plan import Plan
from fewshot.base.types import Task


def plans_text(plans: Sequence[Plan], protocol: str) -> str:
    """Return the text of `plans` of one dataset and setting, fold by fold, with every plan's hash."""
    if not plans:
        return "no plan"
    first = plans[0]
    rules = first.rules
    fractions = ", ".join(f"{fraction:.3f}" for fraction in rules.support_fractions)
    lines = [
        f"plan of {first.dataset} (store {first.dataset_hash[:8]}), setting {first.setting}, {protocol}",
        f"  rules: support {rules.support_scan}, slices at {fractions} of its class slices, "
        f"parts {rules.part_rule}, scored {rules.scored}, {rules.shots} shot" + "s" * (rules.shots > 1),
        f"  training: {_training_rule(first)}",
        "  scored slices as first-last (of all slices), part borders marked |, slices outside not counted",
    ]
    for fold in dict.fromkeys(plan.fold for plan in plans):
        of_fold = [plan for plan in plans if plan.fold == fold]
        lines += [
            "",
            f"fold {fold}   support scan{'s' * (len(of_fold[0].support_scans) > 1)} "
            + ", ".join(dict.fromkeys(scan for plan in of_fold for scan in plan.support_scans)),
        ]
        lines.append(f"  queries   {', '.join(of_fold[0].query_scans)}")
        lines.append(
            f"  training  {len(of_fold[0].training_scans)} scans: {', '.join(of_fold[0].training_scans)}"
        )
        for plan in of_fold:
            lines += _group_lines(plan)
    return "\n".join(lines)


def _training_rule(plan: Plan) -> str:
    if plan.setting == 1:
        return "setting 1 keeps every slice of the training scans, tested classes unlabelled"
    return f"setting 2 drops training slices by {plan.rules.exclusion} of the tested classes"


def _group_lines(plan: Plan) -> Iterable[str]:
    total = len(plan.training_slices) + len(plan.excluded)
    excluded = f"training slices excluded: {len(plan.excluded)} of {total}"
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
