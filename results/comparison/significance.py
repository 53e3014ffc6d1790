"""Two methods on the same scans: paired differences, their test, interval, size, and the scans it takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fewshot.base.errors import UserError
from results.records.configuration import is_configuration_named
from results.records.record import Record
from results.summary.bootstrap import FoldScans, draw_weights, fold_scans, replicate_means
from results.summary.configuration_result import Column, configuration_results
from results.summary.frame import Means, mean_of
from results.summary.seed_average import SeedAverage, average_seeds, labels, values_of
from results.summary.select_records import select_question
from results.summary.statistics import (
    REPLICATES,
    Floats,
    SignedRanks,
    holm,
    interval,
    scans_needed,
    signed_ranks,
    spread_of,
    standardised,
)

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
    chosen, left_out = select_question(records, dataset, setting, protocol)
    rows, more = average_seeds(configuration_results(chosen))
    names = labels(rows)
    one, other = find_row(rows, names, a), find_row(rows, names, b)
    if one is other:
        raise UserError(f"{a!r} and {b!r} are the same configuration #{one.configuration_id}; name two")
    for row in (one, other):
        if row.missing:
            raise UserError(
                f"{names[rows.index(row)]} is incomplete: {len(row.missing)} cells are missing; run them"
            )
    first, second = (values_of(row, measure).means for row in (one, other))
    paired, unpaired = _paired(first, second, one.first.folds)
    scans = fold_scans(paired.scans, one.first.folds, one.first.columns)
    weights = draw_weights(scans, one.first.record.dataset.hash, replicates=replicates)
    return Comparison(
        one.first.record, measure, names[rows.index(one)], names[rows.index(other)],
        tuple(_differences(one, first, second, paired, scans, weights)), unpaired, (*left_out, *more),
    )  # fmt: skip


def find_row(rows: Sequence[SeedAverage], names: Sequence[str], wanted: str) -> SeedAverage:
    """Return the row of a label, or of a text that names its configuration: `names_configuration`."""
    found = [row for row, name in zip(rows, names, strict=True) if wanted == name]
    found = found or [row for row in rows if is_configuration_named(wanted, row.first.record)]
    if len(found) == 1:
        return found[0]
    known = "; ".join(f"#{row.configuration_id} {name}" for row, name in zip(rows, names, strict=True))
    fault = "fits no row" if not found else f"fits {len(found)} rows, name one by its id"
    raise UserError(f"{wanted!r} {fault}: {known}")


def _paired(one: Means, other: Means, folds: Iterable[int]) -> tuple[Means, int]:
    """Return one minus other where both have a scan, and how many values stand alone.

    Raises `UserError` where they share no scan in one of `folds`.
    """
    shared = one.scans.index.intersection(other.scans.index)
    difference = one.scans[shared] - other.scans[shared]
    if not set(folds) <= set(shared.get_level_values("fold")):
        raise UserError("the two methods share no scan in one of the folds; nothing can be paired")
    alone = one.scans.count() + other.scans.count() - 2 * difference.count()
    return Means(difference), int(alone)


def _differences(
    row: SeedAverage,
    first: Means,
    second: Means,
    paired: Means,
    scans: Sequence[FoldScans],
    weights: Sequence[Floats],
) -> list[Difference]:
    """Return the difference of every class, then that of each scan's mean over classes."""
    columns = row.first.columns
    drawn = replicate_means(scans, weights, columns)
    by_scan = [_by_scan(scans, place) for place in (*range(len(columns)), None)]
    tests = [signed_ranks(differences) for differences in by_scan]
    corrected = [*holm([test.p for test in tests[:-1]]), None]
    found = []
    for number, name in enumerate([*(name for _group, name in columns), ALL]):
        differences = by_scan[number]
        if not differences:
            raise UserError(f"no scan has a value of {name} for both; there is nothing to compare")
        column = columns[number] if number < len(columns) else None
        deviation = spread_of(differences)
        a, b, estimate = (_mean(row, means, column) for means in (first, second, paired))
        found.append(
            Difference(
                name, len(differences), a, b, estimate,
                interval(drawn[:, -1 if column is None else number]), tests[number], corrected[number],
                deviation, standardised(differences),
                None if deviation is None else scans_needed(deviation, POINT),
            )
        )  # fmt: skip
    return found


def _mean(row: SeedAverage, means: Means, column: Column | None) -> float:
    """Return the mean over folds of a class, or of all classes (None)."""
    folds = row.first.folds
    return mean_of(means.of_all(folds) if column is None else means.of_class(folds, *column))


def _by_scan(folds: Sequence[FoldScans], column: int | None) -> list[float]:
    """Return a difference per scan, the mean over its folds; `column` None: of its mean over classes."""
    found: dict[str, list[float]] = {}
    for fold in folds:
        for scan, values in zip(fold.scans, fold.values, strict=True):
            found.setdefault(scan, []).append(mean_of(values) if column is None else values[column])
    means = (mean_of(values) for values in found.values())
    return [mean for mean in means if not math.isnan(mean)]
