"""Variance components of a row or of a difference: fold (support and model), seed, and scan.

`statsmodels` fits a mixed model by REML to one value per seed, fold and scan. A value is the mean plus the
effects of fold, seed, fold and seed, scan, and a rest, all random. They say what would narrow the interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from results.inference.interval import VarianceTerm, standard_error, t_quantile
from results.inference.sample import Sample
from results.summary.arrays import Floats

LEAST = 1e-4  # smallest ratio of a standard deviation to the rest's that is not 0
MOST_VALUES = 600  # more take over seconds
MOST_CALLS = 1000  # of the likelihood


@dataclass(frozen=True)
class Design:
    """A number of folds, of seeds, and of query scans per fold."""

    folds: int
    seeds: int
    scans: float


@dataclass(frozen=True)
class Components:
    """Standard deviations of the random effects, in the unit of the values.

    Attributes:
        fold: of folds: support scan and training set. With one seed it includes `model`.
        seed: of seeds, the same in every fold; None with one seed.
        model: of one training, fold and seed together; None with one seed.
        scan: of query scans within a fold. With one seed it includes `rest`.
        rest: of one seed on one scan; None with one seed.
        design: folds, seeds and mean number of scans per fold of the data.
    """

    fold: float
    seed: float | None
    model: float | None
    scan: float
    rest: float | None
    design: Design

    def half_width(self, design: Design) -> float:
        """Return the half width of the 95 % interval of a design of two folds or more, by these components.

        Fold means and seeds are two terms of the variance, with F - 1 and S - 1 degrees of freedom.
        """
        seed, model, rest = (part or 0.0 for part in (self.seed, self.model, self.rest))
        folds, seeds, scans = design.folds, design.seeds, design.scans
        of_fold = self.fold**2 + model**2 / seeds + (self.scan**2 + rest**2 / seeds) / scans
        terms = [VarianceTerm("folds", of_fold / folds, folds - 1)]
        if seeds > 1:
            terms.append(VarianceTerm("seeds", seed**2 / seeds, seeds - 1))
        error, degrees = standard_error(terms)
        return t_quantile(degrees) * error


def variance_components(sample: Sample) -> Components | None:
    """Return the components of a row, or of a difference of rows with the same seeds.

    None for fewer than two folds, for folds of one scan, for rows that differ in seeds, for more than
    `MOST_VALUES` values, and where REML does not converge.
    """
    values = sample.seed_scans
    if values is None:
        return None
    seeds, folds, scans = np.nonzero(~np.isnan(values))
    counts = (~np.isnan(values[0])).sum(axis=1)
    if len(set(folds)) < 2 or counts.max() < 2 or len(seeds) > MOST_VALUES:
        return None
    frame = pd.DataFrame({"seed": seeds, "fold": folds, "scan": scans, "y": values[seeds, folds, scans]})
    effects = {"fold": "0 + C(fold)"}
    if len(values) > 1:
        effects |= {
            "seed": "0 + C(seed)", "model": "0 + C(fold):C(seed)", "scan": "0 + C(scan)",
        }  # fmt: skip
    fitted = _fit(frame, effects)
    if fitted is None:
        return None
    deviations, rest = fitted
    design = Design(len(set(folds)), len(values), float(counts[counts > 0].mean()))
    if len(values) == 1:
        return Components(deviations["fold"], None, None, rest, None, design)
    return Components(
        deviations["fold"], deviations["seed"], deviations["model"], deviations["scan"], rest, design
    )


def _fit(frame: pd.DataFrame, effects: dict[str, str]) -> tuple[dict[str, float], float] | None:
    """Return the standard deviation of each effect and of the rest; None where REML does not converge.

    All rows are one group, so the effects may cross. The likelihood is that of `MixedLM`. Its own `fit`
    inverts a singular matrix where a component is 0, so scipy maximises the likelihood within bounds.
    """
    from scipy.optimize import minimize
    from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMParams

    scale = float(frame["y"].std(ddof=1))
    if not scale > 1e-12:
        return dict.fromkeys(effects, 0.0), 0.0
    scaled = frame.assign(y=(frame["y"] - frame["y"].mean()) / scale, everything=1)
    model = MixedLM.from_formula(
        "y ~ 1", groups="everything", re_formula="0", vc_formula=effects, data=scaled
    )
    model.reml, model.cov_pen, model.fe_pen = True, None, None  # as `fit` sets them
    fixed, no_covariance = np.zeros(1), np.zeros((0, 0))

    def loss(logarithms: Floats) -> float:
        ratios = np.exp(2 * logarithms)
        return -float(model.loglike(MixedLMParams.from_components(fixed, no_covariance, vcomp=ratios)))

    start = np.zeros(len(effects))
    bounds = [(np.log(LEAST), np.log(1 / LEAST))] * len(effects)
    # a gradient search may stop beside a bound, one along axes in a narrow valley: the better end counts
    first = minimize(loss, start, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-13, "gtol": 1e-7})
    options = {"xtol": 1e-5, "ftol": 1e-9, "maxfev": MOST_CALLS}
    second = minimize(loss, first.x, method="Powell", bounds=bounds, options=options)
    if not (first.success or second.success):
        return None
    best = min(first, second, key=lambda end: float(end.fun))
    ratios = np.exp(2 * best.x)
    means, _singular = model.get_fe_params(no_covariance, ratios)
    rest = float(model.get_scale(means, no_covariance, ratios)) ** 0.5
    parts = dict(zip(model.exog_vc.names, rest * np.exp(best.x), strict=True))
    # a deviation at its bound, against the rest or the whole, is 0
    return {name: scale * _or_0(parts[name], rest) for name in effects}, scale * _or_0(rest, 1.0)


def _or_0(deviation: float, other: float) -> float:
    return 0.0 if deviation < 2 * LEAST * other else float(deviation)
