"""The grey value above which a pixel may be patient: a number of the dataset, or relative to each scan."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (1.0, 99.0)
SHARE = 0.1
AIR_HU = -1024.0  # scanners fill the outside of a CT's field with lower values than air


def threshold_of(volume: NDArray[Any], rule: float | str, modality: str) -> float:
    """Return the threshold of a scan in its stored units.

    "auto" lies a tenth of the way from the 1st to the 99th percentile of the volume. In a CT, values below
    -1024 count as -1024, so that filling outside the scanner's field does not lower the threshold below air.

    Args:
        volume: image (Z,H,W).
        rule: `patient_threshold` of the dataset, a number or "auto".
        modality: mr or ct.
    """
    if not isinstance(rule, str):
        return rule
    low, high = (float(value) for value in np.percentile(volume, PERCENTILES))
    if modality == "ct":
        low, high = max(low, AIR_HU), max(high, AIR_HU)
    return low + SHARE * (high - low)
