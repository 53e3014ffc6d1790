"""Two rows on the same folds: primary test over all classes, secondary tests per class, scans described.

Primary: the difference of fold means over all classes, with t interval and exact sign-flip test over folds.
Secondary: the same for every class, p corrected by Holm. Scans of one fold share support and model, so a test
over scans would count them as independent; scans are described only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from results.inference.interval import Interval


@dataclass(frozen=True)
class SignFlip:
    """Exact sign-flip test over fold differences: two-sided p, and the smallest p that this many folds reach."""

    p: float
    smallest: float
    folds: int


@dataclass(frozen=True)
class ScanEffect:
    """Description of the differences of single scans, without a test.

    Attributes:
        scans: number of paired scans; a scan that several folds query counts once.
        better: share of scans where A is above B.
        equal: share of scans without a difference.
        median: median difference.
        rank_biserial: (W+ - W-) / (W+ + W-) of Wilcoxon's signed ranks; None if no scan differs.
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
        fold_differences: difference of each fold.
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


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected by Holm (1979), in the given order; a missing one stays missing."""
    from statsmodels.stats.multitest import multipletests

    known = [p for p in p_values if p is not None]
    corrected = iter(multipletests(known, method="holm")[1].tolist() if known else [])
    return [None if p is None else next(corrected) for p in p_values]
