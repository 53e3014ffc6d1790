"""The roles of a dataset's scans in one fold: queries, supports, held out from training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Protocol

from episodes.plan.rules import SUPPORT_SCANS, EvaluationRules, Fold, ScanRoles, entry_of, named_rule
from fewshot.base.errors import UserError


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
    rule = named_rule("support scan rule", SUPPORT_SCANS, rules.support_scan)
    start, stop = borders[fold], borders[fold + 1]
    if len(scans) - (stop - start) < rules.shots + 1:
        raise UserError(
            f"dataset {facts.name}: fold {fold} holds {stop - start} of {len(scans)} scans; expected at "
            f"least {rules.shots} more for support and one for training; give more scans or fewer shots"
        )
    listed = entry_of(rules.listed_supports, facts) or ()
    if rules.support_scan == "listed" and fold >= len(listed):
        raise UserError(
            f"the protocol lists support scans for {len(listed)} folds of dataset {facts.name}, expected "
            f"fold {fold} too; add it to its [supports]"
        )
    return rule(Fold(integer_sorted(scans), start, stop, rules.shots, listed[fold] if listed else ()))


def integer_sorted(scans: Sequence[str]) -> tuple[str, ...]:
    """Return scan ids sorted as integers if all are integers, else in the given order."""
    return tuple(sorted(scans, key=int)) if all(scan.isdecimal() for scan in scans) else tuple(scans)
