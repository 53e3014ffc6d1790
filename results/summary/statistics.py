"""Statistics of paired differences: bootstrap, Wilcoxon's signed ranks, Holm, effect sizes, scans needed.

Draws come from named seeds, so equal inputs give equal outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from fewshot.base.seeds import seed_for

Floats = NDArray[np.float64]
REPLICATES = 2000
LEVEL = 0.95
DECIMALS = 12  # differences equal to this many decimals are ties: only their order of summation differs


@dataclass(frozen=True)
class SignedRanks:
    """Wilcoxon's signed-rank test: number of nonzero and of zero differences, rank sums, two-sided p."""

    pairs: int
    zeros: int
    plus: float
    minus: float
    p: float

    @property
    def rank_biserial(self) -> float | None:
        """Return (W+ - W-) / (W+ + W-) in [-1, 1] (Kerby 2014); None if no pair differs."""
        total = self.plus + self.minus
        return (self.plus - self.minus) / total if total else None


def resampled(scans: Sequence[str], *names: str | int, replicates: int = REPLICATES) -> Floats:
    """Return (replicates, scans) float64: how often each replicate draws each scan, with replacement.

    `names` and the scans seed the draws, so methods that segmented the same scans share them.
    """
    generator = np.random.Generator(np.random.PCG64(seed_for("bootstrap", *names, *scans)))
    count = len(scans)
    return generator.multinomial(count, [1 / count] * count, size=replicates).astype(np.float64)


def weighted_means(values: Floats, weights: Floats) -> Floats:
    """Return the means (R,C) of values (N,C) under weights (R,N); NaN values are left out of their mean.

    If all weights of a mean's values are 0, it is NaN.
    """
    defined = ~np.isnan(values)
    total = weights @ defined.astype(np.float64)
    return divided(weights @ np.where(defined, values, 0.0), total)


def mean_of_defined(values: Floats, axis: int) -> Floats:
    """Return the mean along an axis of the values that are not NaN; NaN without any."""
    defined = ~np.isnan(values)
    return divided(np.where(defined, values, 0.0).sum(axis=axis), defined.sum(axis=axis))


def divided(numerator: Floats, denominator: NDArray[np.number]) -> Floats:
    """Return the elementwise quotient; NaN where the denominator is 0."""
    quotient = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=np.asarray(denominator) > 0)
    return quotient


def interval(samples: Floats, level: float = LEVEL) -> tuple[float, float] | None:
    """Return the percentile interval of replicates (R,); None without replicates or if any is NaN."""
    if not len(samples) or np.isnan(samples).any():
        return None
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def rank_intervals(samples: Floats, level: float = LEVEL) -> list[tuple[int, int]]:
    """Return for each row of samples (M,R) the interval (low, high) of its rank over the replicates.

    Rank 1 is the largest value; ties share the best rank. Both ends are ranks that occurred.
    """
    ranks = 1 + (samples[:, None, :] < samples[None, :, :]).sum(axis=1)
    low = np.quantile(ranks, (1 - level) / 2, axis=1, method="lower")
    high = np.quantile(ranks, (1 + level) / 2, axis=1, method="higher")
    return [(int(first), int(last)) for first, last in zip(low, high, strict=True)]


def signed_ranks(differences: Sequence[float]) -> SignedRanks:
    """Return Wilcoxon's signed-rank test of paired differences; p is exact, also for tied ranks.

    Zero differences are dropped (Wilcoxon 1945) and counted. Tied sizes share their mean rank. p comes from
    the distribution of W+ over all signs of these ranks. Without a nonzero difference p is 1.
    """
    rounded = np.round(np.asarray(differences, dtype=np.float64), DECIMALS)
    left = rounded[rounded != 0]
    if not len(left):
        return SignedRanks(0, len(rounded), 0.0, 0.0, 1.0)
    doubled = _doubled_ranks(np.abs(left))
    plus = int(doubled[left > 0].sum())
    chances = np.zeros(int(doubled.sum()) + 1)  # probability of every doubled sum of positive ranks
    chances[0] = 1.0
    for rank in doubled:
        moved = np.zeros_like(chances)
        moved[rank:] = chances[: len(chances) - rank]
        chances = 0.5 * (chances + moved)
    tail = min(chances[: plus + 1].sum(), chances[plus:].sum())
    minus = int(doubled.sum()) - plus
    p = float(min(1.0, 2 * tail))
    return SignedRanks(len(left), len(rounded) - len(left), plus / 2, minus / 2, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for multiple tests (Holm 1979), in the given order, at most 1."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, largest = [0.0] * len(p_values), 0.0
    for smaller, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - smaller) * p_values[place]))
        corrected[place] = largest
    return corrected


def standardised(differences: Sequence[float]) -> float | None:
    """Return Cohen's d_z: mean over deviation (n-1) of paired differences; None without a deviation."""
    deviation = spread_of(differences)
    return float(np.mean(differences)) / deviation if deviation else None


def spread_of(differences: Sequence[float]) -> float | None:
    """Return the deviation (n-1) of differences, 0 if it is a rounding error; None for fewer than two."""
    if len(differences) < 2:
        return None
    deviation = float(np.std(differences, ddof=1))
    return deviation if deviation > 10.0**-DECIMALS else 0.0


def scans_needed(deviation: float, difference: float = 0.01, alpha: float = 0.05, power: float = 0.8) -> int:
    """Return the number of paired scans, at least 2, that detect a difference with a signed-rank test.

    The number is the normal approximation ((z_{1-alpha/2} + z_power) * deviation / difference)^2 times
    pi / 3, since the asymptotic efficiency of signed ranks against the paired t-test on normal differences is
    3 / pi.

    Args:
        deviation: standard deviation of the paired differences.
        difference: mean difference to detect, in the same unit.
        alpha: two-sided level of the test.
        power: probability of detection.
    """
    normal = NormalDist()
    score = normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)
    return max(2, math.ceil((score * deviation / difference) ** 2 * math.pi / 3))


def _doubled_ranks(sizes: Floats) -> NDArray[np.int64]:
    """Return twice the mean rank of each size, from 2 for the smallest: an integer even with ties."""
    _values, places, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    doubled: NDArray[np.int64] = (2 * last - counts + 1)[places].astype(np.int64)
    return doubled
