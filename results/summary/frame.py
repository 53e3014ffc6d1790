"""Records as one tidy frame with a row per score, and all means over it: no other module averages scores.

The headline (P-12) is the mean over folds of the mean over classes of the mean over scans. The value of a
scan is the mean over its support sets, then over seeds. An undefined value is NaN. A mean leaves NaN out; a
mean without values is NaN. `statistics.fmean` rounds correctly, so the order of rows does not matter.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from fewshot.base.types import ScanScore
from results.records.configuration import configuration_id
from results.records.record import Record
from results.records.record_parts import Score

IDENTITY = ("protocol", "dataset", "setting", "configuration", "seed", "fold", "group")
SCORE = ("class", "scan", "supports", "slices", "tp", "fp", "fn", "dice", "undefined")
KINDS = dict.fromkeys(("setting", "seed", "fold", "slices", "tp", "fp", "fn"), "int64") | {"dice": "float64"}
LEVELS = ("seed", "fold", "group", "class", "scan", "supports")  # of the index that means are made over


@dataclass(frozen=True)
class Spread:
    """A mean over folds and its standard deviation (n-1); `std` is `None` for a single fold."""

    mean: float
    std: float | None


def record_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Return one row per score, in the order of the records; columns `IDENTITY`, then `SCORE`.

    `configuration` is the configuration's id. `supports` joins the scans of a support set with commas. `tp`,
    `fp` and `fn` are in pixels. `dice` is in [0, 1], or NaN with the reason in `undefined`.
    """
    rows = [
        (
            record.protocol.name, record.dataset.name, record.setting, name, record.model.seed, record.fold,
            record.group, *_score_row(score),
        )
        for record, name in ((record, configuration_id(record)) for record in records)
        for score in record.scores
    ]  # fmt: skip
    return _frame(rows, (*IDENTITY, *SCORE))


def score_frame(scores: Iterable[Score | ScanScore]) -> pd.DataFrame:
    """Return one row per score, in their order, with the columns `SCORE` of `record_frame`."""
    return _frame([_score_row(score) for score in scores], SCORE)


def scan_means(frame: pd.DataFrame, column: str = "dice") -> pd.Series[float]:
    """Return the mean of a column over supports, then over seeds.

    The index has the levels fold, group, class and scan, as far as the frame has these columns.
    """
    levels = [name for name in LEVELS if name in frame.columns]
    values: pd.Series[float] = frame.set_index(levels)[column]
    return mean_over(mean_over(values, "supports"), "seed")


def scan_dice(record: Record) -> pd.Series[float]:
    """Return the defined Dice of each scan of one record: the mean over supports, then over classes."""
    return mean_over(scan_means(record_frame([record])), "fold", "group", "class").dropna()


def mean_dice(scores: Iterable[Score | ScanScore]) -> float:
    """Return the Dice of one cell: the mean over classes of the mean over scans; NaN without any Dice."""
    return mean_of(Means(scan_means(score_frame(scores))).classes)


def mean_over(values: pd.Series[float], *levels: str) -> pd.Series[float]:
    """Return the mean over levels of the index; missing levels are ignored, at least one must remain."""
    present: list[Hashable] = [name for name in levels if name in values.index.names]
    left = values.droplevel(present) if present else values
    if left.index.is_unique:
        return left
    found: dict[Any, list[float]] = {}  # pandas calls a function of each group ten times slower
    for key, value in zip(left.index, left.tolist(), strict=True):
        found.setdefault(key, []).append(value)
    names = left.index.names
    several = len(names) > 1
    index = pd.MultiIndex.from_tuples(list(found), names=names) if several else pd.Index(found, name=names[0])
    return pd.Series([mean_of(values) for values in found.values()], index=index, name=left.name)


def mean_of(values: Iterable[float]) -> float:
    """Return the mean of the values that are not NaN; NaN without any."""
    defined = [value for value in values if not math.isnan(value)]
    return statistics.fmean(defined) if defined else math.nan


def spread_of_folds(values: Iterable[float]) -> Spread | None:
    """Return mean and deviation of the values that are not NaN; None without any."""
    defined = [value for value in values if not math.isnan(value)]
    if not defined:
        return None
    return Spread(statistics.fmean(defined), statistics.stdev(defined) if len(defined) > 1 else None)


@dataclass(frozen=True)
class Means:
    """The means of one configuration, each computed from the one before it; an undefined one is NaN.

    Attributes:
        scans: value by (fold, group, class, scan): `scan_means`.
    """

    scans: pd.Series[float]

    @cached_property
    def classes(self) -> pd.Series[float]:
        """Return the mean over scans by (fold, group, class)."""
        return mean_over(self.scans, "scan")

    @cached_property
    def groups(self) -> pd.Series[float]:
        """Return the mean over the classes of a group by (fold, group)."""
        return mean_over(self.classes, "class")

    @cached_property
    def folds(self) -> pd.Series[float]:
        """Return the mean over all classes by fold; it ignores missing cells, so callers check for them."""
        return mean_over(self.classes, "group", "class")

    def of_class(self, folds: Iterable[int], group: str, name: str) -> list[float]:
        """Return the mean over scans of a class in each fold; NaN if undefined or missing."""
        return [_value_at(self.classes, (fold, group, name)) for fold in folds]

    def of_group(self, folds: Iterable[int], group: str) -> list[float]:
        """Return the mean over the classes of a group in each fold; NaN if undefined or missing."""
        return [_value_at(self.groups, (fold, group)) for fold in folds]

    def of_all(self, folds: Iterable[int]) -> list[float]:
        """Return the mean over all classes in each fold; NaN if undefined or missing."""
        return [_value_at(self.folds, fold) for fold in folds]


def undefined_scores(frame: pd.DataFrame) -> tuple[tuple[int, str, str, str], ...]:
    """Return (fold, class, scan, reason) of every undefined row of a record frame, in its order."""
    rows = frame[frame["undefined"].notna()]
    columns = (rows[name].tolist() for name in ("fold", "class", "scan", "undefined"))
    return tuple(zip(*columns, strict=True))


def _value_at(values: pd.Series[float], key: object) -> float:
    return float(values.get(key, math.nan))


def _frame(rows: list[tuple[object, ...]], columns: tuple[str, ...]) -> pd.DataFrame:
    """Return the frame of rows; texts keep the dtype object, so that a missing reason stays None."""
    kinds = {name: kind for name, kind in KINDS.items() if name in columns}
    return pd.DataFrame(rows, columns=list(columns), dtype=object).astype(kinds)


def _score_row(score: Score | ScanScore) -> tuple[object, ...]:
    return (
        score.class_name, score.scan, ",".join(score.supports), score.slices, score.tp, score.fp, score.fn,
        score.dice, score.undefined,
    )  # fmt: skip
