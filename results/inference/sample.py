"""The values of one number that its inference needs: one class, one group, or all classes of a row.

The unit of inference is the fold: its scans share one support and one trained model. Seeds are averaged in
each fold first. `fold_means` alone give the t interval; the other arrays hold what fold means do not show.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from results.summary.arrays import Floats, mean_of_defined


@dataclass(frozen=True)
class Sample:
    """The values of one number, or of the paired difference of two numbers; undefined is NaN.

    Attributes:
        fold_means: (F,) mean of each fold, seeds averaged.
        seed_tables: tables (S,F) of the mean of each seed and fold, one per row that depends on a seed. A
            difference of rows with the same seeds has one table of differences. A yardstick has no table.
        scans: (F,N) value of each query scan in each fold, classes and seeds averaged; NaN outside the fold.
            A scan that two folds query has two values.
        seed_scans: (S,F,N) value of each seed and query scan, for variance components; None for a difference
            of rows with other seeds. S is 1 for a row that depends on no seed.
        supports: (F,N,P) value of each query scan under each support set; None for a protocol with one.
    """

    fold_means: Floats
    seed_tables: tuple[Floats, ...]
    scans: Floats
    seed_scans: Floats | None = None
    supports: Floats | None = None

    @property
    def covers_seeds(self) -> bool:
        """Say whether every row that depends on a seed has several seeds."""
        return all(len(table) > 1 for table in self.seed_tables)

    @property
    def seeds(self) -> int | None:
        """Return the smallest number of seeds of a row that depends on one; None without such a row."""
        return min((len(table) for table in self.seed_tables), default=None)

    @property
    def defined(self) -> Floats:
        """Return the fold means that are defined."""
        return self.fold_means[~np.isnan(self.fold_means)]

    @property
    def is_complete(self) -> bool:
        """Say whether the mean of every fold is defined."""
        return not bool(np.isnan(self.fold_means).any())

    @property
    def scan_values(self) -> Floats:
        """Return the defined value of each query scan; a scan that several folds query counts once."""
        values = mean_of_defined(self.scans, 0)
        return values[~np.isnan(values)]

    @property
    def scan_deviation(self) -> float | None:
        """Return the standard deviation (n-1) over query scans; None for fewer than two."""
        values = self.scan_values
        return float(values.std(ddof=1)) if len(values) > 1 else None
