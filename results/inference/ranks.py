"""Interval of a row's rank from joint draws of all rows: the same folds for every row.

A replicate draws one normal weight per fold and one chi-square scale, the same for all rows, so that the
difference of any two rows has the distribution of its t interval. Seeds add their own variance per row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fewshot.base.seeds import seed_for
from results.inference.interval import LEVEL, variance_terms
from results.inference.sample import Sample
from results.summary.arrays import Floats

REPLICATES = 2000


def draw_means(samples: Sequence[Sample], replicates: int = REPLICATES) -> Floats:
    """Return (rows, replicates) draws of the means over folds of rows on the same F folds.

    Args:
        samples: one per row; all fold means are defined, F >= 2.
        replicates: number of draws.
    """
    folds = np.stack([sample.fold_means for sample in samples])
    count = folds.shape[1]
    generator = np.random.Generator(np.random.PCG64(seed_for("ranks", count, replicates)))
    weights = generator.standard_normal((count, replicates))
    scale = np.sqrt((count - 1) / generator.chisquare(count - 1, replicates))
    deviations = folds - folds.mean(axis=1, keepdims=True)
    drawn = deviations @ weights * scale / np.sqrt(count * (count - 1))
    for row, sample in enumerate(samples):
        others = [term for term in variance_terms(sample) if term.name != "folds"]
        variance = sum(term.value for term in others)
        if variance > 0:
            degrees = max(1.0, variance**2 / sum(term.value**2 / term.degrees for term in others))
            drawn[row] += np.sqrt(variance) * generator.standard_t(degrees, replicates)
    means: Floats = folds.mean(axis=1, keepdims=True) + drawn
    return means


def rank_intervals(samples: Sequence[Sample], level: float = LEVEL) -> list[tuple[int, int] | None]:
    """Return the interval (low, high) of each row's rank; rank 1 is the largest mean, ties share the best.

    A row with one seed has no interval, since nothing shows how far a seed moves it. It may stand on either
    side of the other rows: it leaves their low end and adds 1 to their high end.
    """
    covered = [row for row, sample in enumerate(samples) if sample.covers_seeds]
    ends: list[tuple[int, int] | None] = [None] * len(samples)
    if not covered or len(samples[0].fold_means) < 2:
        return ends
    drawn = draw_means([samples[row] for row in covered])
    others = len(samples) - len(covered)
    for place, row in enumerate(covered):
        ranks = 1 + (drawn > drawn[place]).sum(axis=0)
        low = np.quantile(ranks, (1 - level) / 2, method="lower")
        high = np.quantile(ranks, (1 + level) / 2, method="higher")
        ends[row] = int(low), int(high) + others
    return ends
