"""Two methods on the same scans: paired differences with test, interval, effect size and scans needed."""

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
POINT = 0.01  # one percentage point of Dice, as a ratio


@dataclass(frozen=True)
class Difference:
    """A minus B on one class, or on each scan's mean over classes; ratios in [-1, 1].

    Attributes:
        name: the class, or `ALL`.
        scans: number of paired scans.
        a, b: means over folds of A and B.
        estimate: mean over folds of the paired differences.
        interval: 95 % bootstrap interval of `estimate`.
        test: Wilcoxon's signed-rank test over scans.
        corrected: Holm's p over the classes; None for `ALL`, which is a single test.
        deviation: standard deviation (n-1) of the paired differences.
        standardised: Cohen's d_z; None without a deviation.
        needed: paired scans that would show a difference of one point; None without a deviation.
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
    """A against B; `unpaired` counts the scores that only one of them has, which are left out."""

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
    """Return the comparison of two rows of a board.

    Seeds are averaged per scan first. A scan that several folds segment counts once in the test, as its mean.

    Args:
        records: records of any question; `select_question` chooses.
        a, b: labels, methods or configuration ids of the two rows.
        dataset, setting: the dataset's name and the setting.
        protocol: a protocol's name; None chooses one.
        measure: a key of `MEASURES`.
        replicates: number of bootstrap replicates.

    Raises:
        UserError: a name fits no row or several rows, a row is incomplete, or no scan can be paired.
    """
    chosen, left_out = select_question(records, dataset, setting, protocol)
    rows, more = average_seeds(configuration_results(chosen))
    names = labels(rows)
    row_a, row_b = find_row(rows, names, a), find_row(rows, names, b)
    if row_a is row_b:
        raise UserError(f"{a!r} and {b!r} are the same configuration #{row_a.configuration_id}; name two")
    for row in (row_a, row_b):
        if row.missing:
            raise UserError(
                f"{names[rows.index(row)]} is incomplete: {len(row.missing)} cells are missing; run them"
            )
    first, second = (values_of(row, measure).means for row in (row_a, row_b))
    paired, unpaired = _paired(first, second, row_a.first.folds)
    scans = fold_scans(paired.scans, row_a.first.folds, row_a.first.columns)
    weights = draw_weights(scans, row_a.first.record.dataset.hash, replicates=replicates)
    return Comparison(
        row_a.first.record, measure, names[rows.index(row_a)], names[rows.index(row_b)],
        tuple(_differences(row_a, first, second, paired, scans, weights)), unpaired, (*left_out, *more),
    )  # fmt: skip


def find_row(rows: Sequence[SeedAverage], names: Sequence[str], name_or_id: str) -> SeedAverage:
    """Return the row with a label, or with a configuration as `is_configuration_named` reads it.

    Raises `UserError`, with all rows, unless exactly one row fits.
    """
    fitting = [row for row, name in zip(rows, names, strict=True) if name_or_id == name]
    fitting = fitting or [row for row in rows if is_configuration_named(name_or_id, row.first.record)]
    if len(fitting) == 1:
        return fitting[0]
    known = "; ".join(f"#{row.configuration_id} {name}" for row, name in zip(rows, names, strict=True))
    fault = "fits no row" if not fitting else f"fits {len(fitting)} rows, name one by its id"
    raise UserError(f"{name_or_id!r} {fault}: {known}")


def _paired(first: Means, other: Means, folds: Iterable[int]) -> tuple[Means, int]:
    """Return first minus other on shared scans, and the number of values that only one of them has.

    Raises `UserError` if they share no scan in one of `folds`.
    """
    shared = first.scans.index.intersection(other.scans.index)
    difference = first.scans[shared] - other.scans[shared]
    if not set(folds) <= set(shared.get_level_values("fold")):
        raise UserError("the two methods share no scan in one of the folds; nothing can be paired")
    alone = first.scans.count() + other.scans.count() - 2 * difference.count()
    return Means(difference), int(alone)


def _differences(
    row: SeedAverage,
    first: Means,
    second: Means,
    paired: Means,
    scans: Sequence[FoldScans],
    weights: Sequence[Floats],
) -> list[Difference]:
    """Return the difference for every class, then for each scan's mean over classes."""
    columns = row.first.columns
    drawn = replicate_means(scans, weights, columns)
    by_scan = [_by_scan(scans, place) for place in (*range(len(columns)), None)]
    tests = [signed_ranks(differences) for differences in by_scan]
    corrected = [*holm([test.p for test in tests[:-1]]), None]
    made = []
    for number, name in enumerate([*(name for _group, name in columns), ALL]):
        differences = by_scan[number]
        if not differences:
            raise UserError(f"no scan has a value of {name} for both; there is nothing to compare")
        column = columns[number] if number < len(columns) else None
        deviation = spread_of(differences)
        a, b, estimate = (_mean(row, means, column) for means in (first, second, paired))
        made.append(
            Difference(
                name, len(differences), a, b, estimate,
                interval(drawn[:, -1 if column is None else number]), tests[number], corrected[number],
                deviation, standardised(differences),
                None if deviation is None else scans_needed(deviation, POINT),
            )
        )  # fmt: skip
    return made


def _mean(row: SeedAverage, means: Means, column: Column | None) -> float:
    """Return the mean over folds of a class, or of all classes if `column` is not given."""
    folds = row.first.folds
    return mean_of(means.of_all(folds) if column is None else means.of_class(folds, *column))


def _by_scan(folds: Sequence[FoldScans], column: int | None) -> list[float]:
    """Return one difference per scan, its mean over folds; without a `column`, of its mean over classes."""
    by_scan: dict[str, list[float]] = {}
    for fold in folds:
        for scan, values in zip(fold.scans, fold.values, strict=True):
            by_scan.setdefault(scan, []).append(mean_of(values) if column is None else values[column])
    means = (mean_of(values) for values in by_scan.values())
    return [mean for mean in means if not math.isnan(mean)]
