"""Two rows of a board on the same folds: the primary test over all classes, and each class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fewshot.base.errors import UserError
from fewshot.identity.regimes import check_one_regime, regime_block
from results.inference.components import Components, variance_components
from results.inference.paired import PairedDifference, PairedRows, compare_values
from results.inference.row_values import row_values
from results.records.configuration import is_configuration_named
from results.records.record import Record
from results.summary.configuration_result import configuration_results
from results.summary.seed_average import SeedAverage, average_seeds, labels
from results.summary.select_records import select_question


@dataclass(frozen=True)
class Comparison:
    """A against B.

    Attributes:
        record: any record of the two rows, for the fields that all share.
        measure: a key of `MEASURES`.
        a, b: labels of the rows.
        seeds_a, seeds_b: their seeds.
        rows: differences over all classes and per class.
        components: variance components of the difference over all classes; None if they cannot be estimated.
        left_out: a line for each omission.
    """

    record: Record
    measure: str
    a: str
    b: str
    seeds_a: tuple[int, ...]
    seeds_b: tuple[int, ...]
    rows: PairedRows
    components: Components | None
    left_out: tuple[str, ...]

    @property
    def differences(self) -> tuple[PairedDifference, ...]:
        """Return the difference of every class, then of all classes."""
        return (*self.rows.classes, self.rows.overall)


def compare(
    records: Iterable[Record],
    a: str,
    b: str,
    dataset: str,
    setting: int,
    protocol: str | None = None,
    *,
    measure: str = "dice",
) -> Comparison:
    """Return the comparison of two rows of a board.

    Args:
        records: records of any question; `select_question` chooses.
        a, b: labels, methods or configuration ids of the two rows.
        dataset, setting: the dataset's name and the setting.
        protocol: a protocol's name; None chooses one.
        measure: a key of `MEASURES`.

    Raises:
        UserError: a name fits no row or several rows, a row is incomplete, the rows are of two
            regimes, or no scan can be paired.
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
    methods = [row.first.record.method for row in (row_a, row_b)]
    check_one_regime([regime_block(m.regime, m.labels_used) for m in methods], "significance")
    made = compare_values(row_values(row_a, measure), row_values(row_b, measure))
    _check_pairs(made)
    return Comparison(
        row_a.first.record, measure, names[rows.index(row_a)], names[rows.index(row_b)], row_a.seeds,
        row_b.seeds, made, variance_components(made.sample), (*left_out, *more),
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


def _check_pairs(rows: PairedRows) -> None:
    """Raise `UserError` if a fold or a class has no scan with a value of both rows."""
    for one in rows.classes:
        if not one.scans.scans:
            raise UserError(f"no scan has a value of {one.name} for both; there is nothing to compare")
    if not rows.sample.is_complete:
        raise UserError("the two methods share no scan in one of the folds; nothing can be paired")
