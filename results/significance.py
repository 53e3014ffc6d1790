"""Two methods on the same scans: paired differences, their test, interval, size, and the scans it takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fewshot.base.errors import UserError
from results.blocks import blocks
from results.configuration import names_configuration
from results.leaderboard import fold_weights
from results.questions import choose
from results.record import Record
from results.rows import Fold, Row, Values, labels, rows_of, values_of
from results.statistics import (
    REPLICATES,
    Floats,
    SignedRanks,
    holm,
    interval,
    mean_of_defined,
    scans_needed,
    signed_ranks,
    spread_of,
    standardised,
)  # fmt: skip

ALL = "all classes"
POINT = 0.01  # one point of Dice, in ratios


@dataclass(frozen=True)
class Difference:
    """A minus B on one class, or on each scan's mean over classes; ratios in [-1, 1].

    `estimate` is the headline's mean of paired differences, `interval` its 95 % bootstrap interval; `p` is
    Wilcoxon's over scans, `corrected` Holm's over classes (None for all classes together, which is one test);
    `needed` paired scans would show a difference of one point; None where a deviation is undefined.
    """

    name: str
    scans: int
    a: float
    b: float
    estimate: float
    interval: tuple[float, float] | None
    test: SignedRanks
    corrected: float | None
    deviation: float | None
    standardised: float | None
    needed: int | None


@dataclass(frozen=True)
class Comparison:
    """A against B; `unpaired` scores have a value for one of them alone and are left out."""

    record: Record
    measure: str
    a: str
    b: str
    differences: tuple[Difference, ...]
    unpaired: int
    left_out: tuple[str, ...]


def compare(
    records: Iterable[Record],
    a: str,
    b: str,
    dataset: str,
    setting: int,
    protocol: str | None = None,
    *,
    measure: str = "dice",
    replicates: int = REPLICATES,
) -> Comparison:
    """Return the comparison of two rows of a board, named by label, method or configuration id.

    Seeds are averaged per scan first, and a scan that several folds ask counts once, as its mean. Raises
    `UserError` where a name fits no row or several, or where a row is incomplete.
    """
    chosen, left_out = choose(records, dataset, setting, protocol)
    rows, more = rows_of(blocks(chosen))
    names = labels(rows)
    one, other = find_row(rows, names, a), find_row(rows, names, b)
    if one is other:
        raise UserError(f"{a!r} and {b!r} are the same configuration #{one.configuration_id}; name two")
    for row in (one, other):
        if row.missing:
            raise UserError(
                f"{names[rows.index(row)]} is incomplete: {len(row.missing)} cells are missing; run them"
            )
    first, second = values_of(one, measure), values_of(other, measure)
    paired, unpaired = _paired(first, second)
    weights = fold_weights(paired, one.first.record, replicates)
    return Comparison(
        one.first.record, measure, names[rows.index(one)], names[rows.index(other)],
        tuple(_differences(one, first, second, paired, weights)), unpaired, (*left_out, *more),
    )  # fmt: skip


def find_row(rows: Sequence[Row], names: Sequence[str], wanted: str) -> Row:
    """Return the row of a label, or of a text that names its configuration: `names_configuration`."""
    found = [row for row, name in zip(rows, names, strict=True) if wanted == name]
    found = found or [row for row in rows if names_configuration(wanted, row.first.record)]
    if len(found) == 1:
        return found[0]
    known = "; ".join(f"#{row.configuration_id} {name}" for row, name in zip(rows, names, strict=True))
    fault = "fits no row" if not found else f"fits {len(found)} rows, name one by its id"
    raise UserError(f"{wanted!r} {fault}: {known}")


def _paired(one: Values, other: Values) -> tuple[Values, int]:
    """Return one minus other where both have a value, and how many values stand alone."""
    folds, alone = [], 0
    for fold, counterpart in zip(one.folds, other.folds, strict=True):
        place = {scan: number for number, scan in enumerate(counterpart.scans)}
        shared = [number for number, scan in enumerate(fold.scans) if scan in place]
        if not shared:
            raise UserError("the two methods share no scan in one of the folds; nothing can be paired")
        mine = fold.values[shared]
        its = counterpart.values[[place[fold.scans[number]] for number in shared]]
        defined = int((~np.isnan(fold.values)).sum() + (~np.isnan(counterpart.values)).sum())
        difference = mine - its
        alone += defined - 2 * int((~np.isnan(difference)).sum())
        folds.append(Fold(tuple(fold.scans[number] for number in shared), difference))
    return Values(tuple(folds), one.groups, (), 0), alone


def _differences(
    row: Row, first: Values, second: Values, paired: Values, weights: Sequence[Floats]
) -> list[Difference]:
    columns = [*range(len(row.first.columns)), -1]
    estimates = mean_of_defined(paired.by_fold(), 0)
    means = [mean_of_defined(values.by_fold(), 0) for values in (first, second)]
    drawn = paired.replicates(weights)
    by_scan = [_by_scan(paired, column) for column in columns]
    tests = [signed_ranks(differences) for differences in by_scan]
    corrected = [*holm([test.p for test in tests[:-1]]), None]
    names = [*(name for _group, name in row.first.columns), ALL]
    found = []
    for number, column in enumerate(columns):
        differences = by_scan[number]
        if not differences:
            raise UserError(f"no scan has a value of {names[number]} for both; there is nothing to compare")
        deviation = spread_of(differences)
        found.append(
            Difference(
                names[number], len(differences), float(means[0][column]), float(means[1][column]),
                float(estimates[column]), interval(drawn[:, column]), tests[number], corrected[number],
                deviation, standardised(differences),
                None if deviation is None else scans_needed(deviation, POINT),
            )
        )  # fmt: skip
    return found


def _by_scan(paired: Values, column: int) -> list[float]:
    """Return a difference per scan, -1 for the mean over classes; a scan of several folds gives its mean."""
    found: dict[str, list[float]] = {}
    for fold in paired.folds:
        values = mean_of_defined(fold.values, 1) if column == -1 else fold.values[:, column]
        for scan, value in zip(fold.scans, values, strict=True):
            if not np.isnan(value):
                found.setdefault(scan, []).append(float(value))
    return [sum(values) / len(values) for values in found.values()]
