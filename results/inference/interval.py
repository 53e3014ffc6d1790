"""t interval of a mean over folds; seeds, shared scans and supports add their variance.

The variance of the mean is a sum of terms (Satterthwaite 1946, degrees of freedom of a sum of mean squares):

- folds: variance of the F fold means over F, with F - 1 degrees of freedom. Alone it is the t interval.
- seeds: a seed has the same start in every fold. In a table of S seeds and F folds its own variance is
  (MS seeds - MS residual) / (S F). It is added where the F test of the two mean squares has p < 0.35, a
  preliminary test before mean squares are pooled (Bancroft 1964); the level holds the coverage of
  docs/statistics.md.
- shared scans: two folds that query one scan (`qnet-ep1`, `catnet-ep1`) have correlated means. The scan
  counts as one: its variance, estimated within folds, is the covariance of the two means.
- supports: under `open-ep` all folds use the same support scans. Support scans are resampled, crossed with
  the query scans of the folds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fewshot.base.seeds import seed_for
from results.inference.sample import Sample
from results.summary.arrays import Floats, divided, mean_of_defined

LEVEL = 0.95
SUPPORT_DRAWS = 2000
POOLING = 0.35  # level of the preliminary test of seeds
ROUNDING = 1e-24  # a variance below it, of ratios in [-1, 1], is a rounding error


@dataclass(frozen=True)
class Interval:
    """An interval of a mean over folds.

    Attributes:
        low, high: its ends.
        level: nominal coverage over folds, supports and seeds.
        degrees: degrees of freedom of its t quantile.
        covers_seeds: False if a row depends on a seed and has one. The interval is then over folds alone, and
            no table calls it by its level.
    """

    low: float
    high: float
    level: float
    degrees: float
    covers_seeds: bool


@dataclass(frozen=True)
class VarianceTerm:
    """A term of the variance of a mean: its name, value (may be negative) and degrees of freedom."""

    name: str
    value: float
    degrees: float


def t_interval(sample: Sample, level: float = LEVEL) -> Interval | None:
    """Return the interval of the mean of a sample over folds; None for fewer than two defined folds."""
    terms = variance_terms(sample)
    if not terms:
        return None
    error, degrees = standard_error(terms)
    half = t_quantile(degrees, level) * error
    mean = float(sample.defined.mean())
    return Interval(mean - half, mean + half, level, degrees, sample.covers_seeds)


def t_p_value(sample: Sample) -> float | None:
    """Return the two-sided p of the mean 0 by the same variance; None without interval or variance."""
    from scipy.special import stdtr

    terms = variance_terms(sample)
    if not terms:
        return None
    error, degrees = standard_error(terms)
    if error == 0:
        return None
    return float(2 * stdtr(degrees, -abs(sample.defined.mean()) / error))


def variance_terms(sample: Sample) -> list[VarianceTerm]:
    """Return the terms of the variance of the mean over folds; [] for fewer than two defined folds."""
    means = sample.defined
    folds = len(means)
    if folds < 2:
        return []
    terms = [VarianceTerm("folds", float(means.var(ddof=1)) / folds, folds - 1)]
    for table in sample.seed_tables:
        terms += _seed_terms(table)
    return [*terms, *_shared_scan_terms(sample), *_support_terms(sample)]


def standard_error(terms: list[VarianceTerm]) -> tuple[float, float]:
    """Return the standard error and Satterthwaite's degrees of freedom, at least 1, of a sum of terms."""
    variance = sum(term.value for term in terms)
    spread = sum(term.value**2 / term.degrees for term in terms)
    if variance <= ROUNDING or spread == 0:
        return 0.0, terms[0].degrees
    return math.sqrt(variance), max(1.0, variance**2 / spread)


def t_quantile(degrees: float, level: float = LEVEL) -> float:
    """Return the two-sided t quantile of a level."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + level) / 2))


def _seed_terms(table: Floats) -> list[VarianceTerm]:
    """Return the terms of the seeds' own variance; [] for one seed or if the preliminary test finds none."""
    from scipy.special import fdtrc

    table = table[:, ~np.isnan(table).any(axis=0)]
    seeds, folds = table.shape
    if seeds < 2 or folds < 2:
        return []
    of_seeds, of_folds = table.mean(axis=1), table.mean(axis=0)
    between = folds * float(of_seeds.var(ddof=1))
    degrees = (seeds - 1) * (folds - 1)
    rest = table - of_seeds[:, None] - of_folds[None, :] + table.mean()
    residual = float((rest**2).sum()) / degrees
    if between <= residual + ROUNDING:
        return []
    if residual > ROUNDING and fdtrc(seeds - 1, degrees, between / residual) >= POOLING:
        return []
    return [
        VarianceTerm("seeds", between / (seeds * folds), seeds - 1),
        VarianceTerm("seeds", -residual / (seeds * folds), degrees),
    ]


def _shared_scan_terms(sample: Sample) -> list[VarianceTerm]:
    """Return the term of scans that several folds query; [] without such scans or within-fold variance."""
    scans = sample.scans[~np.isnan(sample.fold_means)]
    queried = ~np.isnan(scans)
    counts = queried.sum(axis=1)
    degrees = int((counts - 1).sum())
    if degrees < 1 or not (queried.sum(axis=0) > 1).any():
        return []
    folds = len(scans)
    rest = np.where(queried, scans - mean_of_defined(scans, 1)[:, None], 0.0)
    variance = float((rest**2).sum()) / degrees
    weights = queried / counts[:, None]
    products = weights @ weights.T
    covariance = variance * float(products.sum() - np.trace(products))
    # the variance of fold means is too small by their covariance, and the mean's own too large: F (F - 1)
    return [VarianceTerm("shared scans", covariance / (folds * (folds - 1)), degrees)]


def _support_terms(sample: Sample) -> list[VarianceTerm]:
    """Return the term of the support scans, resampled; [] for a protocol with one support set."""
    if sample.supports is None or sample.supports.shape[-1] < 2:
        return []
    values = sample.supports[~np.isnan(sample.fold_means)]
    folds, scans, sets = values.shape
    generator = np.random.Generator(np.random.PCG64(seed_for("supports", folds, scans, sets)))
    drawn = generator.multinomial(sets, [1 / sets] * sets, size=SUPPORT_DRAWS).astype(np.float64)
    defined = ~np.isnan(values)
    by_scan = divided(np.where(defined, values, 0.0) @ drawn.T, defined.astype(np.float64) @ drawn.T)
    means = mean_of_defined(mean_of_defined(by_scan, 1), 0)
    variance = float(np.nanvar(means, ddof=1)) * sets / (sets - 1)
    return [VarianceTerm("supports", variance, sets - 1)]
