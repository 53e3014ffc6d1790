"""Our distances against MONAI, medpy's rule and DeepMind's rule, on examples worked by hand and on blobs.

The numbers of other libraries were printed by medpy 0.5.2 and by DeepMind's surface-distance 0.1; both rules
are written out here from their definitions, so the test needs neither.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.surface_dice import compute_surface_dice
from monai.metrics.surface_distance import compute_average_surface_distance
from monai.metrics.utils import get_edge_surface_distance
from scipy import ndimage

from results.metrics.distances import CONVENTIONS, DISTANCES, surface_scores

SPACING = (5.0, 2.0, 1.0)
TOLERANCE = 1.0

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def far_voxel() -> tuple[np.ndarray, np.ndarray]:
    """Return prediction and truth: a row of three voxels, and in the prediction a fourth one 4 mm further."""
    truth = np.zeros((4, 9, 9), dtype=bool)
    truth[1, 4, 2:5] = True
    prediction = truth.copy()
    prediction[1, 4, 8] = True
    return prediction, truth


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two random bodies (9,24,20) that overlap and touch the border."""
    draw = np.random.Generator(np.random.PCG64(seed))
    smooth = ndimage.gaussian_filter(draw.normal(size=(9, 24, 20)), 2.0)
    other = smooth + ndimage.gaussian_filter(draw.normal(0, 0.6, size=(9, 24, 20)), 2.0)
    return smooth > 0, other > 0


def monai_scores(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return MONAI's scores of the whole volumes, uncropped."""
    pair = [torch.from_numpy(mask)[None, None] for mask in (prediction, truth)]
    shared: dict[str, Any] = {"include_background": True, "spacing": SPACING}
    return {
        "hd95_mm": float(compute_hausdorff_distance(*pair, percentile=95, **shared)),
        "asd_mm": float(compute_average_surface_distance(*pair, symmetric=True, **shared)),
        "nsd": float(compute_surface_dice(*pair, class_thresholds=[TOLERANCE], use_subvoxels=True, **shared)),
    }


def voxel_distances(mask: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the distance in mm of each surface voxel of a mask to the nearest one of the other mask.

    A surface voxel has a neighbour outside, across one of its six faces; outside of the volume counts.
    """
    surfaces = [each & ~ndimage.binary_erosion(each) for each in (mask, other)]
    to_other: np.ndarray = ndimage.distance_transform_edt(~surfaces[1], sampling=SPACING)
    return to_other[surfaces[0]]


def medpy_hd95(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Return one 95 % quantile, interpolated, over the surface voxels of both masks together."""
    pooled = np.concatenate([voxel_distances(prediction, truth), voxel_distances(truth, prediction)])
    return float(np.percentile(pooled, 95))


def deepmind_distances(prediction: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """Return HD95 and both directed means (truth to prediction first), weighted by area, at voxel corners."""
    edges, distances, areas = get_edge_surface_distance(
        *(torch.from_numpy(mask) for mask in (prediction, truth)),
        spacing=SPACING, use_subvoxels=True, symmetric=True,
    )  # fmt: skip
    quantiles, means = [], []
    for edge, distance, area in zip(edges, distances, areas, strict=True):
        far, weight = distance.double().numpy(), area[edge].double().numpy()
        order = np.argsort(far, kind="stable")
        share = np.cumsum(weight[order]) / weight.sum()
        quantiles.append(far[order][min(np.searchsorted(share, 0.95), len(far) - 1)])
        means.append(float((far * weight).sum() / weight.sum()))
    return float(max(quantiles)), means[1], means[0]


def test_three_libraries_give_three_numbers_for_one_pair_of_masks() -> None:
    """The prediction's four voxels are 0 0 0 4 mm from the truth, the truth's three 0 0 0 mm.

    MONAI: 95 % quantile of (0 0 0 4): 0.85 * 4 = 3.4; of (0 0 0): 0; the larger is 3.4. medpy: quantile of
    (0 0 0 0 0 0 4): place 0.95 * 6 = 5.7, so 0.7 * 4 = 2.8. DeepMind: the lone voxel has more than 5 % of the
    prediction's surface area, and there is no interpolation: 4.
    """
    prediction, truth = far_voxel()
    assert sorted(voxel_distances(prediction, truth)) == [0, 0, 0, 4]
    assert surface_scores(prediction, truth, SPACING, TOLERANCE)["hd95_mm"] == pytest.approx(3.4, rel=1e-6)
    assert medpy_hd95(prediction, truth) == pytest.approx(2.8, rel=1e-9)  # medpy 0.5.2: 2.8
    assert deepmind_distances(prediction, truth)[0] == pytest.approx(4.0)  # surface-distance 0.1: 4.0


def test_mean_distances_differ_too() -> None:
    """Pooled 4 / 7, mean of the directed means (4 / 4 + 0 / 3) / 2 = 0.5, by area 0.898 and 0."""
    prediction, truth = far_voxel()
    assert surface_scores(prediction, truth, SPACING, TOLERANCE)["asd_mm"] == pytest.approx(4 / 7)
    directed = [voxel_distances(prediction, truth).mean(), voxel_distances(truth, prediction).mean()]
    assert np.mean(directed) == 0.5  # medpy up to 0.4
    _hd95, to_prediction, to_truth = deepmind_distances(prediction, truth)
    assert to_prediction == 0 and to_truth == pytest.approx(0.8982306486752006, rel=1e-6)


def test_surface_dice_is_deepminds() -> None:
    prediction, truth = far_voxel()
    found = surface_scores(prediction, truth, SPACING, TOLERANCE)["nsd"]
    assert found == pytest.approx(0.8527917728518893, rel=1e-6)  # surface-distance 0.1


@pytest.mark.parametrize("seed", range(4))
def test_ours_is_monais_also_at_the_border(seed: int) -> None:
    prediction, truth = blobs(seed)
    found = surface_scores(prediction, truth, SPACING, TOLERANCE)
    assert found == pytest.approx(monai_scores(prediction, truth), rel=1e-6)
    assert found["hd95_mm"] > 0 and 0 < found["nsd"] < 1
    inner = max(
        np.percentile(voxel_distances(*pair), 95) for pair in ((prediction, truth), (truth, prediction))
    )
    assert found["hd95_mm"] == pytest.approx(inner, rel=1e-6)  # the definition, written out


def test_conventions_diverge_on_bodies_as_well() -> None:
    gaps = []
    for seed in range(4):
        pair = blobs(seed)
        found = surface_scores(*pair, SPACING, TOLERANCE)["hd95_mm"]
        gaps.append((found - medpy_hd95(*pair), found - deepmind_distances(*pair)[0]))
    assert any(pooled > 0.05 for pooled, _area in gaps) and any(abs(area) > 0.05 for _pooled, area in gaps)


def test_what_libraries_make_of_an_empty_mask() -> None:
    """MONAI: not a number or infinite, and 0; ours refuses, and `distance_score` gives a reason."""
    _prediction, truth = far_voxel()
    nothing = np.zeros_like(truth)
    with pytest.raises(ValueError, match="a mask is empty"):
        surface_scores(nothing, truth, SPACING, TOLERANCE)
    with pytest.warns(UserWarning, match="all 0"):
        theirs = monai_scores(nothing, truth)
    assert not np.isfinite(theirs["hd95_mm"]) and theirs["nsd"] == 0.0


def test_every_distance_has_a_convention() -> None:
    assert CONVENTIONS.keys() == DISTANCES.keys()
