"""What a submission must fulfil: every check returns one line per fault, and no fault stops the others.

A seal is no signature: whoever changes a number can seal the file again. So records are compared with the
published plan, with each other and with known records of the same plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fewshot.base.errors import listed
from fewshot.identity.versions import PARTS
from fewshot.learners.registry import METHODS, resolve_method
from protocols.cells.spot_check import CHECK as EQUAL_MASKS
from protocols.rules.audits import FOLDS, IMAGES, PATIENTS, SCANS, SLICES, SUPPORT
from protocols.runs.cross_dataset import UNSEEN
from protocols.runs.selection import HELD_OUT
from protocols.scoring.plan_file import PlanFile
from protocols.scoring.score_masks import AUDIT as FROM_FILES
from protocols.submission.method_card import card_faults
from protocols.submission.published_plans import compares_slices, missing_plan_text, plan_of, planned_scores
from protocols.submission.submission_file import Submission
from results.records.configuration import configuration_id
from results.records.record import HYBRID, Record
from results.summary.screening import places_of_markup

Truth = Mapping[tuple[str, str, str], int]  # plan hash, class, query scan -> true pixels


def submission_faults(
    submission: Submission, plans: Sequence[PlanFile], known: Iterable[Record] = ()
) -> list[str]:
    """Return every reason to refuse a submission, a line each.

    Args:
        submission: the content of its file.
        plans: published plans.
        known: records that were accepted before, whose true pixels must be the same.
    """
    records = submission.records
    if not records:
        return []
    first = records[0]
    faults = _configuration_faults(submission)
    plan = plan_of(first, plans)
    if plan is None:
        faults.append(missing_plan_text(first, plans))
    else:
        faults += _grid_faults(records, plan)
        for record in records:
            faults += _plan_faults(record, plan)
    for record in records:
        faults += _record_faults(record, plan)
    faults += _truth_faults(records, known)
    return [*faults, *card_faults(submission.card, first)]


def _configuration_faults(submission: Submission) -> list[str]:
    ids = list(dict.fromkeys(configuration_id(record) for record in submission.records))
    if len(ids) > 1:
        return [f"{len(ids)} configurations: {listed(ids)}; expected one, so pack each by itself"]
    if ids[0] != submission.configuration:
        return [
            f"configuration is {submission.configuration}, the records have {ids[0]}; pack the file again"
        ]
    return []


def _grid_faults(records: Sequence[Record], plan: PlanFile) -> list[str]:
    """Return the missing, repeated and surplus cells of every seed."""
    faults = []
    for seed in sorted({record.model.seed for record in records}):
        cells = [(record.fold, record.group) for record in records if record.model.seed == seed]
        missing = [cell for cell in plan.cells if cell not in cells]
        if missing:
            names = listed(f"fold {fold} {group}" for fold, group in missing)
            faults.append(
                f"seed {seed}: {len(missing)} of {len(plan.cells)} cells are missing: {names}; run them"
            )
        repeated = sorted({cell for cell in cells if cells.count(cell) > 1})
        if repeated:
            names = listed(f"fold {fold} {group}" for fold, group in repeated)
            faults.append(f"seed {seed}: several records of {names}; expected one a cell")
    folds = {fold for fold, _group in plan.cells}
    groups = {group for _fold, group in plan.cells}
    for grid in {record.grid.folds: record.grid for record in records}.values():
        if grid.folds != len(folds) or set(grid.groups) != groups:
            faults.append(
                f"grid has {grid.folds} folds and groups {listed(sorted(grid.groups))}, the plan "
                f"{len(folds)} and {listed(sorted(groups))}; run the complete grid"
            )
    return faults


def _plan_faults(record: Record, plan: PlanFile) -> list[str]:
    """Return how a record differs from its published plan: hash, scored pairs, numbers of slices."""
    where, cell = _where(record), (record.fold, record.group)
    expected = plan.cells.get(cell)
    if expected is None:
        return [f"{where}: the published plan has no such cell; run the grid of the plan"]
    if record.plan_hash != expected:
        return [
            f"{where}: plan is {record.plan_hash}, the published one {expected}; run the cell again with the "
            "published dataset and protocol"
        ]
    planned = planned_scores(plan, *cell)
    found = {(score.class_name, score.scan, score.supports): score.slices for score in record.scores}
    for what, keys in (("lacks", planned.keys() - found.keys()), ("adds", found.keys() - planned.keys())):
        if keys:
            class_name, scan, supports = min(keys)
            return [
                f"{where}: the record {what} {len(keys)} scores, such as {class_name} of scan {scan} from "
                f"{listed(supports)}; expected those of the plan"
            ]
    for key, slices in sorted(planned.items()):
        if found[key] != slices:
            return [
                f"{where}: {key[0]} of scan {key[1]} counts {found[key]} slices, the plan {slices}; run the "
                "cell again"
            ]
    return []


def _record_faults(record: Record, plan: PlanFile | None) -> list[str]:
    """Return the failed audits, marks that exclude, other versions and markup of a record."""
    where = _where(record)
    faults = [
        f"{where}: it is marked {mark!r}; a hybrid cannot be submitted"
        for mark in record.audits
        if mark.startswith(HYBRID)
    ]
    lacking = [name for name in expected_checks(record, plan) if name not in record.checks]
    if lacking:
        faults.append(
            f"{where}: it lacks passed audits: {'; '.join(lacking)}; run the cell again with this program"
        )
    for part, version in sorted(record.versions.items()):
        if version != PARTS.get(part):
            faults.append(
                f"{where}: version of {part} is {version}, this program has {PARTS.get(part, 'no such part')}"
                "; run the cell again with this program"
            )
    if record.method.version is not None:
        own = resolve_method(record.method.name).version if record.method.name in METHODS else None
        if record.method.version != own:
            faults.append(
                f"{where}: version of {record.method.name} is {record.method.version}, this program has "
                f"{own or 'no such method'}; run the cell again with this program"
            )
    if record.model.finite is False:
        faults.append(f"{where}: the model has weights that are not finite; train it again")
    place = next(places_of_markup(record.to_json()), None)
    if place is not None:
        faults.append(f"{where}: {place} holds markup or control characters, expected plain text")
    return faults


def expected_checks(record: Record, plan: PlanFile | None) -> tuple[str, ...]:
    """Return the audits that a record of this kind must have passed."""
    names = [FOLDS, SUPPORT, PATIENTS, IMAGES]
    is_scored = FROM_FILES in record.audits
    if record.train_dataset is not None:
        names.append(UNSEEN)
    elif record.model.recipe is not None and record.model.checkpoint != "external":
        names.append(SCANS)
        if record.setting == 2 and (plan is None or plan.exclusion == "union"):
            names.append(SLICES)
    if record.model.checkpoint == "validation":
        names.append(HELD_OUT)
    if not is_scored and (plan is None or compares_slices(plan)):
        names.append(EQUAL_MASKS)
    return tuple(names)


def true_pixels(records: Iterable[Record]) -> dict[tuple[str, str, str], int]:
    """Return (plan hash, class, query scan) -> tp + fn, the true pixels of the scored slices."""
    return {
        (record.plan_hash, score.class_name, score.scan): score.tp + score.fn
        for record in records
        for score in record.scores
        if score.undefined is None
    }


def _truth_faults(records: Sequence[Record], known: Iterable[Record]) -> list[str]:
    """Return a line for each record whose true pixels differ from those of known records or other seeds.

    True pixels depend on plan, class and scan alone: every method has the same number.
    """
    truth = true_pixels(known)
    faults = []
    for record in records:
        for key, pixels in true_pixels([record]).items():
            if truth.setdefault(key, pixels) != pixels:
                faults.append(
                    f"{_where(record)}: {key[1]} of scan {key[2]} has {pixels} true pixels (tp + fn), other "
                    f"records of this plan {truth[key]}; run the cell again"
                )
                break
    return faults


def _where(record: Record) -> str:
    return f"fold {record.fold}, group {record.group}, seed {record.model.seed}"
