"""Distances between the surfaces of two masks, in millimetres.

MONAI (Cardoso et al. 2022, arXiv 2211.02701) computes them; only this module imports it. The surface of a
mask is the set of its voxels that touch the outside. If a mask is empty or the spacing is unknown, a score is
undefined with a reason, never 0 or infinite.
"""

from __future__ import annotations

import warnings
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

DISTANCES = {
    "hd95_mm": "95 % Hausdorff distance in mm",
    "asd_mm": "average symmetric surface distance in mm",
    "nsd": "normalised surface Dice",
}
# how each score is defined where libraries differ; every table of distances prints it (docs/distances.md)
CONVENTIONS = {
    "hd95_mm": "MONAI's convention: larger of the two directed 95 % quantiles, each interpolated over the "
    "surface voxels of one mask; medpy takes one quantile of both directions together, DeepMind's "
    "surface-distance weighs by surface area",
    "asd_mm": "mean over the surface voxels of both masks together, as MONAI and medpy 0.5; medpy up to 0.4 "
    "takes the mean of the two directed means, DeepMind's surface-distance weighs by surface area",
    "nsd": "DeepMind's convention: share of the surface area of both masks, with subvoxel areas, within the "
    "tolerance",
}
EMPTY = "an empty mask makes a distance undefined, never 0 or infinite; undefined ones leave their means"
TOLERANCE_MM = 2.0
SCHEMA = 2

Bools = NDArray[np.bool_]


def library_version() -> str:
    """Return the version of MONAI, which decides the scores."""
    return version("monai")


def surface_scores(
    prediction: Bools, truth: Bools, spacing_mm: tuple[float, float, float], tolerance_mm: float
) -> dict[str, float]:
    """Return the three distance scores of two masks.

    Args:
        prediction, truth: (Z,H,W) bool, not empty.
        spacing_mm: voxel spacing (z,y,x).
        tolerance_mm: tolerance of `nsd`.

    Returns:
        hd95_mm: the larger of the two directed 95 % quantiles of surface-to-surface distances.
        asd_mm: the mean of these distances over both directions together.
        nsd: the share of surface area within the tolerance of the other surface (Nikolov et al. 2021), with
        subvoxel areas, in [0, 1].

    Raises:
        ValueError: the shapes differ, a mask is empty, or spacing or tolerance is not valid.
    """
    if prediction.shape != truth.shape or prediction.ndim != 3:
        raise ValueError(f"prediction is {prediction.shape}, truth {truth.shape}; expected one shape (Z,H,W)")
    if not prediction.any() or not truth.any():
        raise ValueError("a mask is empty; its surface is undefined")
    if not all(spacing > 0 for spacing in spacing_mm) or not tolerance_mm >= 0:
        raise ValueError(f"spacing {spacing_mm}, tolerance {tolerance_mm}; expected positive millimetres")
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI warns about its own arguments
        from monai.metrics.hausdorff_distance import compute_hausdorff_distance
        from monai.metrics.surface_dice import compute_surface_dice
        from monai.metrics.surface_distance import compute_average_surface_distance

        both = prediction | truth
        pair = (torch.from_numpy(_crop(mask, both))[None, None] for mask in (prediction, truth))
        predicted, true = pair
        shared: dict[str, Any] = {"include_background": True, "spacing": spacing_mm}
        hausdorff = compute_hausdorff_distance(predicted, true, percentile=95, **shared)
        average = compute_average_surface_distance(predicted, true, symmetric=True, **shared)
        surface = compute_surface_dice(
            predicted, true, class_thresholds=[tolerance_mm], use_subvoxels=True, **shared
        )
    return {"hd95_mm": float(hausdorff), "asd_mm": float(average), "nsd": float(surface)}


def _crop(mask: Bools, both: Bools) -> Bools:
    """Crop a mask to the bounding box of `both`, with a margin of one empty voxel on every side."""
    inside = tuple(
        slice(int(places[0]), int(places[-1]) + 1)
        for axis in range(3)
        for places in [np.flatnonzero(both.any(axis=tuple({0, 1, 2} - {axis})))]
    )
    return np.pad(mask[inside], 1)
