"""The values of one number that its inference needs: one class, one group, or all classes of a row.

The unit of inference is the fold: its scans share one support and one trained model. Seeds are averaged inside
each fold first. `fold_means` alone give the t interval; the other arrays hold what fold means do not show.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from results.summary.arrays import Floats


@dataclass(frozen=True)
class Sample:
    """The values of one number, or of the paired difference of two numbers; undefined is NaN.

    Attributes:
        fold_means: (F,) mean of each fold, seeds averaged.
        seed_tables: tables (S,F) of the mean of each seed and fold, one per row with a random start. A difference
            of rows with the same seeds has one table of differences. A row without seeds, such as a yardstick,
            has no table.
        scans: (F,N) value of each query scan in each fold, classes and seeds averaged; NaN outside the fold. A
            scan that two folds query has two values.
        supports: (F,N,P) value of each query scan under each support set, for protocols with several; else None.
    """

    fold_means: Floats
    seed_tables: tuple[Floats, ...]
    scans: Floats
    supports: Floats | None = None

    @property
    def covers_seeds(self) -> bool:
        """Say whether every row with a random start has several seeds."""
        return all(len(table) > 1 for table in self.seed_tables)

    @property
    def seeds(self) -> int | None:
        """Return the smallest number of seeds of a row with a random start; None without such a row."""
        return min((len(table) for table in self.seed_tables), default=None)

    @property
    def defined(self) -> Floats:
        """Return the fold means that are defined."""
        return self.fold_means[~np.isnan(self.fold_means)]
