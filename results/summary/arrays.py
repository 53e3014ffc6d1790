"""Means of arrays with undefined values (NaN): a mean leaves them out, and a mean without values is NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def mean_of_defined(values: Floats, axis: int) -> Floats:
    """Return the mean along an axis of the values that are not NaN; NaN without any."""
    defined = ~np.isnan(values)
    return divided(np.where(defined, values, 0.0).sum(axis=axis), defined.sum(axis=axis))


def divided(numerator: NDArray[Any], denominator: NDArray[Any]) -> Floats:
    """Return the elementwise quotient; NaN where the denominator is 0."""
    quotient = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=np.asarray(denominator) > 0)
    return quotient
