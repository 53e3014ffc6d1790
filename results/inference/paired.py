"""Two rows on the same folds: primary test over all classes, secondary tests per class, scans described.

Primary: the difference of fold means over all classes, with t interval and exact sign-flip test over folds.
Secondary: the same for every class, p corrected by Holm. Scans of one fold share support and model, so a test
over scans would count them as independent; scans are described only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from results.inference.interval import LEVEL, Interval, t_interval, t_p_value
from results.inference.row_values import RowValues, pair_values, sample_of, sample_of_difference
from results.inference.sample import Sample
from results.inference.sign_flip import SignFlip, sign_flip_test

ALL = "all classes"
DECIMALS = 12  # differences equal to this many decimals are ties: only their order of summation differs


@dataclass(frozen=True)
class ScanEffect:
    """Description of the differences of single scans, without a test.

    Attributes:
        scans: number of paired scans; a scan that several folds query counts once.
        better: share of scans where A is above B.
        equal: share of scans without a difference.
        median: median difference.
        rank_biserial: (W+ - W-) / (W+ + W-) of Wilcoxon's signed ranks (Kerby 2014); None if no scan differs.
    """

    scans: int
    better: float
    equal: float
    median: float
    rank_biserial: float | None


@dataclass(frozen=True)
class PairedDifference:
    """A minus B on one class or on all classes; ratios in [-1, 1].

    Attributes:
        name: the class, or `ALL`.
        a, b: means over folds of A and B, over the pairs.
        estimate: mean over folds of the difference.
        fold_differences: difference of each fold; NaN if undefined.
        interval: t interval; None for fewer than two folds.
        p: two-sided p of the same t statistic; None with one seed, without an interval or without variance.
        sign_flip: exact test over folds; None with one seed or for fewer than two folds.
        corrected: Holm's p over the classes; None for `ALL`, which is the one primary test.
        scans: description of single scans.
    """

    name: str
    a: float
    b: float
    estimate: float
    fold_differences: tuple[float, ...]
    interval: Interval | None
    p: float | None
    sign_flip: SignFlip | None
    corrected: float | None
    scans: ScanEffect

    @property
    def is_significant(self) -> bool | None:
        """Say whether the interval excludes 0; None where nothing is claimed (one seed, or no interval)."""
        if self.interval is None or not self.interval.covers_seeds:
            return None
        return self.interval.low > 0 or self.interval.high < 0


@dataclass(frozen=True)
class PairedRows:
    """Two rows compared.

    Attributes:
        classes: the secondary differences, one per class.
        overall: the primary difference, of all classes.
        sample: the sample of the primary difference.
        unpaired: number of values that only one row has; they are left out.
    """

    classes: tuple[PairedDifference, ...]
    overall: PairedDifference
    sample: Sample
    unpaired: int


def compare_values(a: RowValues, b: RowValues, level: float = LEVEL) -> PairedRows:
    """Return A minus B over all classes and for every class.

    Args:
        a, b: rows with the same folds and classes, as on one board.
        level: level of the intervals.
    """
    first, second, unpaired = pair_values(a, b)
    classes = [
        _difference(name, first, second, place, level) for place, (_group, name) in enumerate(first.columns)
    ]
    corrected = holm([one.p for one in classes])
    return PairedRows(
        tuple(replace(one, corrected=p) for one, p in zip(classes, corrected, strict=True)),
        _difference(ALL, first, second, None, level),
        sample_of_difference(first, second),
        unpaired,
    )


def compare_means(a: RowValues, b: RowValues, level: float = LEVEL) -> PairedDifference:
    """Return A minus B over all classes alone; arguments as those of `compare_values`."""
    first, second, _unpaired = pair_values(a, b)
    return _difference(ALL, first, second, None, level)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected by Holm (1979), in the given order; a missing one stays missing."""
    known = [p for p in p_values if p is not None]
    if not known:
        return [None] * len(p_values)
    from statsmodels.stats.multitest import multipletests

    corrected = iter(multipletests(known, method="holm")[1].tolist())
    return [None if p is None else float(next(corrected)) for p in p_values]


def scan_effect(sample: Sample) -> ScanEffect:
    """Return the description of the differences of single scans."""
    from scipy.stats import rankdata

    values = np.round(sample.scan_values, DECIMALS)
    differing = values[values != 0]
    ranks = rankdata(np.abs(differing))
    total = float(ranks.sum())
    signed = float(ranks[differing > 0].sum() - ranks[differing < 0].sum())
    return ScanEffect(
        len(values),
        float((values > 0).mean()) if len(values) else 0.0,
        float((values == 0).mean()) if len(values) else 0.0,
        float(np.median(values)) if len(values) else float("nan"),
        signed / total if total else None,
    )


def _difference(name: str, a: RowValues, b: RowValues, column: int | None, level: float) -> PairedDifference:
    first, second = (_mean(sample_of(row, column)) for row in (a, b))
    sample = sample_of_difference(a, b, column)
    tested = sample.covers_seeds
    return PairedDifference(
        name, first, second, _mean(sample), tuple(sample.fold_means.tolist()), t_interval(sample, level),
        t_p_value(sample) if tested else None,
        sign_flip_test(sample.fold_means.tolist()) if tested else None,
        None, scan_effect(sample),
    )  # fmt: skip


def _mean(sample: Sample) -> float:
    return float(sample.defined.mean()) if len(sample.defined) else float("nan")
