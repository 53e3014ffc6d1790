"""Exact sign-flip test over fold differences, the counterpart of the t test without a normal distribution.

Under no difference the sign of each fold's difference is arbitrary, so all 2^F signs are equally likely. The
smallest two-sided p is 2 / 2^F: five folds cannot reach 0.05.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fewshot.base.seeds import seed_for

EXACT_FOLDS = 16  # more folds have more than 65,536 signs: as many are drawn
DRAWS = 2**EXACT_FOLDS


@dataclass(frozen=True)
class SignFlip:
    """Sign-flip test over folds.

    Attributes:
        p: two-sided p.
        smallest: smallest p that this many folds can reach, 2 / 2^F.
        folds: number of folds F.
        is_exact: False if signs were drawn.
    """

    p: float
    smallest: float
    folds: int
    is_exact: bool


def sign_flip_test(differences: Sequence[float]) -> SignFlip | None:
    """Return the test of the mean difference 0 over defined fold differences; None for fewer than two."""
    from scipy.stats import permutation_test

    values = np.asarray(differences, dtype=np.float64)
    values = values[~np.isnan(values)]
    folds = len(values)
    if folds < 2:
        return None
    is_exact = folds <= EXACT_FOLDS
    test = permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf if is_exact else DRAWS,
        vectorized=True, rng=np.random.Generator(np.random.PCG64(seed_for("sign flips", folds))),
    )  # fmt: skip
    return SignFlip(float(min(1.0, test.pvalue)), 2.0 / 2.0**folds, folds, is_exact)
