"""The scores of one row as arrays, and the samples of its numbers: each class, each group, all classes.

A mean of arrays repeats the headline (P-12): supports, then seeds, then scans, then classes, each over the
values that are defined.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.inference.sample import Sample
from results.records.record import Record
from results.summary.arrays import Floats, divided, mean_of_defined
from results.summary.configuration_result import Column
from results.summary.fold_scans import scan_order
from results.summary.seed_average import SeedAverage, values_of

LEVELS = ("seed", "fold", "column", "scan", "supports")


@dataclass(frozen=True)
class RowValues:
    """The values of one row under one measure; undefined or missing is NaN.

    Attributes:
        folds, columns, scans: the axes F, C (group and class) and N, in order.
        seeds: the seeds of axis S.
        depends_on_seed: whether a seed changes the numbers.
        by_seed: (S,F,C,N) mean over supports.
        support_sets: the axis P: the scans of each support set, joined with commas.
        by_support: (F,C,N,P) mean over seeds; None for a protocol with one support set per scan.
    """

    folds: tuple[int, ...]
    columns: tuple[Column, ...]
    scans: tuple[str, ...]
    seeds: tuple[int, ...]
    depends_on_seed: bool
    by_seed: Floats
    support_sets: tuple[str, ...] = ()
    by_support: Floats | None = None


def depends_on_seed(record: Record) -> bool:
    """Say whether a seed changes the numbers of a record: it trained a model, or drew its weights.

    A checkpoint file from elsewhere is one training of one seed.
    """
    model = record.model
    if model.checkpoint in ("external", "none"):
        return model.checkpoint == "external"
    weights = model.initial_weights
    return bool(model.steps) or bool(model.stages) or weights is None or weights.name == "random"


def row_values(row: SeedAverage, measure: str = "dice") -> RowValues:
    """Return the values of a row; `measure` is a key of `results.metrics.measures.MEASURES`."""
    folds, columns = tuple(row.first.folds), row.first.columns
    return frame_values(
        values_of(row, measure).frame, folds, columns, depends_on_seed=depends_on_seed(row.first.record)
    )


def frame_values(
    frame: pd.DataFrame, folds: Sequence[int], columns: Sequence[Column], *, depends_on_seed: bool
) -> RowValues:
    """Return the values of a frame of one row.

    Args:
        frame: a row per score; columns seed, fold, group, class, scan, supports and value.
        folds: axis F.
        columns: axis C, (group, class).
        depends_on_seed: whether a seed changes the numbers.
    """
    seeds = tuple(sorted(set(frame["seed"].tolist())))
    scans = tuple(sorted(set(frame["scan"].tolist()), key=scan_order))
    sets = tuple(sorted(set(frame["supports"].tolist())))
    axes = {
        "seed": seeds, "fold": tuple(folds), "column": tuple(columns), "scan": scans, "supports": sets,
    }  # fmt: skip
    texts = {name: frame[name].tolist() for name in ("seed", "fold", "scan", "supports")}
    texts["column"] = list(zip(frame["group"].tolist(), frame["class"].tolist(), strict=True))
    places = {}
    for name in LEVELS:
        place_of = {item: place for place, item in enumerate(axes[name])}
        places[name] = np.array([place_of[item] for item in texts[name]], dtype=np.intp)
    values = frame["value"].to_numpy(dtype=np.float64)
    sizes = {name: len(axes[name]) for name in LEVELS}
    by_seed = _mean_at(values, places, sizes, ("seed", "fold", "column", "scan"))
    by_support = None
    queried = frame.dropna(subset="value").groupby(["fold", "group", "class", "scan"])["supports"]
    if (queried.nunique() > 1).any():
        by_support = _mean_at(values, places, sizes, ("fold", "column", "scan", "supports"))
    return RowValues(tuple(folds), tuple(columns), scans, seeds, depends_on_seed, by_seed, sets, by_support)


def sample_of(values: RowValues, column: int | None = None, *, group: str | None = None) -> Sample:
    """Return the sample of one number of a row.

    Args:
        values: the row.
        column: place of a class on axis C; None takes the mean over classes.
        group: the group whose classes are averaged; None takes all classes.
    """
    chosen = _places(values, column, group)
    by_seed = values.by_seed[:, :, chosen]
    scans = mean_of_defined(by_seed, 0)
    seed_scans = mean_of_defined(by_seed if values.depends_on_seed else scans[None], 2)
    tables = (mean_of_defined(mean_of_defined(by_seed, 3), 2),) if values.depends_on_seed else ()
    supports = values.by_support
    if supports is not None:
        supports = mean_of_defined(supports[:, chosen], 1)
    return Sample(
        mean_of_defined(mean_of_defined(scans, 2), 1), tables, mean_of_defined(scans, 1), seed_scans, supports
    )


def pair_values(a: RowValues, b: RowValues) -> tuple[RowValues, RowValues, int]:
    """Return A and B on the same axes, each without the values that the other lacks, and their number.

    Raises `ValueError` if folds or classes differ: rows of one board have the same.
    """
    if (a.folds, a.columns) != (b.folds, b.columns):
        raise ValueError("rows of different folds or classes cannot be paired")
    first, second = align_scans(a, b)
    means = [mean_of_defined(row.by_seed, 0) for row in (first, second)]
    defined = [~np.isnan(each) for each in means]
    both = defined[0] & defined[1]
    unpaired = int(defined[0].sum() + defined[1].sum() - 2 * both.sum())
    return _only(first, both), _only(second, both), unpaired


def align_scans(a: RowValues, b: RowValues) -> tuple[RowValues, RowValues]:
    """Return A and B on the same axes of scans and support sets; a value that a row lacks is NaN."""
    scans = tuple(sorted({*a.scans, *b.scans}, key=scan_order))
    sets = tuple(sorted({*a.support_sets, *b.support_sets}))
    return _on_axes(a, scans, sets), _on_axes(b, scans, sets)


def sample_of_difference(
    a: RowValues, b: RowValues, column: int | None = None, *, group: str | None = None
) -> Sample:
    """Return the sample of A minus B on equal axes (`pair_values`, `align_scans`); arguments as `sample_of`.

    Rows with the same seeds are paired by seed.
    """
    first, second = (sample_of(row, column, group=group) for row in (a, b))
    tables = (*first.seed_tables, *second.seed_tables)
    seed_scans = None
    if len(tables) < 2 or a.seeds == b.seeds:
        tables = (tables[0] - tables[1],) if len(tables) == 2 else tables
        assert first.seed_scans is not None and second.seed_scans is not None
        seed_scans = first.seed_scans - second.seed_scans
    supports = None
    if first.supports is not None and second.supports is not None:
        supports = first.supports - second.supports
    return Sample(
        first.fold_means - second.fold_means, tables, first.scans - second.scans, seed_scans, supports
    )


def _places(values: RowValues, column: int | None, group: str | None) -> list[int]:
    if column is not None:
        return [column]
    return [place for place, (name, _class) in enumerate(values.columns) if group in (None, name)]


def _mean_at(
    values: Floats, places: dict[str, NDArray[Any]], sizes: dict[str, int], names: Sequence[str]
) -> Floats:
    """Return the mean of the defined values at each place of the named axes."""
    shape = tuple(sizes[name] for name in names)
    flat = np.ravel_multi_index(tuple(places[name] for name in names), shape)
    defined = ~np.isnan(values)
    size = math.prod(shape)
    total = np.bincount(flat[defined], weights=values[defined], minlength=size)
    return divided(total, np.bincount(flat[defined], minlength=size)).reshape(shape)


def _on_axes(row: RowValues, scans: tuple[str, ...], sets: tuple[str, ...]) -> RowValues:
    if (row.scans, row.support_sets) == (scans, sets):
        return row
    at = [scans.index(scan) for scan in row.scans]
    by_seed = np.full((*row.by_seed.shape[:3], len(scans)), np.nan)
    by_seed[..., at] = row.by_seed
    by_support = None
    if row.by_support is not None:
        by_support = np.full((*row.by_support.shape[:2], len(scans), len(sets)), np.nan)
        by_support[:, :, np.array(at)[:, None], [sets.index(each) for each in row.support_sets]] = (
            row.by_support
        )
    return RowValues(row.folds, row.columns, scans, row.seeds, row.depends_on_seed, by_seed, sets, by_support)


def _only(row: RowValues, kept: NDArray[Any]) -> RowValues:
    by_support = row.by_support
    return RowValues(
        row.folds, row.columns, row.scans, row.seeds, row.depends_on_seed,
        np.where(kept, row.by_seed, np.nan), row.support_sets,
        None if by_support is None else np.where(kept[..., None], by_support, np.nan),
    )  # fmt: skip
