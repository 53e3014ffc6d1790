"""Distances between the surfaces of two masks, in millimetres.

The library is MONAI (Cardoso et al. 2022, arXiv 2211.02701), imported here alone. A surface is the set of a
mask's voxels that touch its outside. A score is undefined, with its reason, and never 0 or infinite, where a
mask is empty or the spacing is not known.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

DISTANCES = {
    "hd95_mm": "95 % Hausdorff distance in mm",
    "asd_mm": "average symmetric surface distance in mm",
    "nsd": "normalised surface Dice",
}
TOLERANCE_MM = 2.0
SCHEMA = 1

Bools = NDArray[np.bool_]


def surface_scores(
    prediction: Bools, truth: Bools, spacing_mm: tuple[float, float, float], tolerance_mm: float
) -> dict[str, float]:
    """Return the three scores of two masks (Z,H,W) bool with spacing (z,y,x); neither may be empty.

    hd95_mm: the larger of both directions' 95 % quantile of distances from a surface voxel to the other
    surface. asd_mm: the mean of all those distances, both directions together. nsd: the share of surface area
    within the tolerance of the other surface (Nikolov et al. 2021), areas by subvoxels, in [0, 1].
    """
    if prediction.shape != truth.shape or prediction.ndim != 3:
        raise ValueError(f"prediction is {prediction.shape}, truth {truth.shape}; wanted one shape (Z,H,W)")
    if not prediction.any() or not truth.any():
        raise ValueError("a mask is empty; its surface is undefined")
    if not all(spacing > 0 for spacing in spacing_mm) or not tolerance_mm >= 0:
        raise ValueError(f"spacing {spacing_mm}, tolerance {tolerance_mm}; wanted positive millimetres")
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of MONAI about its own arguments
        from monai.metrics.hausdorff_distance import compute_hausdorff_distance
        from monai.metrics.surface_dice import compute_surface_dice
        from monai.metrics.surface_distance import compute_average_surface_distance

        both = prediction | truth
        found, true = (torch.from_numpy(_cut(mask, both))[None, None] for mask in (prediction, truth))
        shared: dict[str, Any] = {"include_background": True, "spacing": spacing_mm}
        hausdorff = compute_hausdorff_distance(found, true, percentile=95, **shared)
        average = compute_average_surface_distance(found, true, symmetric=True, **shared)
        surface = compute_surface_dice(
            found, true, class_thresholds=[tolerance_mm], use_subvoxels=True, **shared
        )
    return {"hd95_mm": float(hausdorff), "asd_mm": float(average), "nsd": float(surface)}


def _cut(mask: Bools, both: Bools) -> Bools:
    """Cut a mask to where either has a voxel, with a margin of one empty voxel on every side."""
    inside = tuple(
        slice(int(places[0]), int(places[-1]) + 1)
        for axis in range(3)
        for places in [np.flatnonzero(both.any(axis=tuple({0, 1, 2} - {axis})))]
    )
    return np.pad(mask[inside], 1)
