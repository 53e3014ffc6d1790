"""Variance components of a row or of a difference: fold (support and model), seed, and scan.

`statsmodels` fits the mixed model by REML to one value per seed and scan: value = mean + fold + seed + fold and
seed + scan + rest, all random. The components say what would narrow the interval.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Design:
    """A number of folds, seeds and scans per fold."""

    folds: int
    seeds: int
    scans: float


@dataclass(frozen=True)
class Components:
    """Standard deviations, in the unit of the values, of the random effects.

    Attributes:
        fold: of folds: support scan and training set.
        seed: of seeds, the same in every fold; None with one seed.
        model: of one training: fold and seed together; None with one seed (then part of `fold`).
        scan: of query scans within a fold.
        rest: of one seed on one scan; None with one seed (then part of `scan`).
        design: folds, seeds and scans per fold of the data.
    """

    fold: float
    seed: float | None
    model: float | None
    scan: float
    rest: float | None
    design: Design

    def half_width(self, design: Design) -> float:
        """Return the expected half width of the 95 % t interval of another design with two folds or more."""
        from results.inference.interval import t_quantile

        seed, model, rest = (part or 0.0 for part in (self.seed, self.model, self.rest))
        folds, seeds, scans = design.folds, design.seeds, design.scans
        variance = (
            self.fold**2 / folds
            + seed**2 / seeds
            + model**2 / (folds * seeds)
            + self.scan**2 / (folds * scans)
            + rest**2 / (folds * seeds * scans)
        )
        return t_quantile(folds - 1) * float(variance**0.5)
