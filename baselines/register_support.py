"""Yardstick `register-support`: classical registration of the support slice to the query warps its mask.

No paper of this field reports it. An affine transform is found first, then a cubic B-spline on a coarse mesh
(SimpleITK, several resolutions). Nothing is trained. Rule M-YRD-3 of docs/methods.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import SimpleITK
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewshot.base.errors import UserError
from fewshot.base.types import Support

FINEST = 64  # pixels a side, at most, of the slices of the finest level
BINS = 32  # of the joint histogram of mutual information


sitk: Any = SimpleITK  # which has no types


@dataclass(frozen=True)
class Registration:
    """How slices are registered.

    `metric`: what is maximised, correlation or mutual information of the two slices; `mesh`: B-spline cells a
    side, 0 for the affine transform alone; `iterations`: at most, of each transform and level.
    """

    metric: Literal["correlation", "mutual-information"] = "correlation"
    mesh: int = 8
    iterations: int = 20

    def __post_init__(self) -> None:
        """Raise `UserError` for numbers that no registration can have."""
        if not 0 <= self.mesh <= 64 or not 1 <= self.iterations <= 10_000:
            raise UserError(f"mesh {self.mesh} and iterations {self.iterations}: expected 0..64 and 1..10000")


class RegisterSupport:
    """Predict the support mask warped by a registration of the support slice to the query slice.

    With several shots the probability is the mean of the warped masks. Slices are registered one by one, on
    one thread, without random numbers, so equal questions have equal masks. A slice of one value only has
    nothing to register; it counts as registered as it lies.
    """

    Options = Registration
    version: ClassVar[int] = 1
    trainable: ClassVar[bool] = False
    regime: ClassVar[str] = "yardstick"
    labels_used: ClassVar[str] = "none"

    def __init__(self, options: Registration | None = None) -> None:
        self.options = Registration() if options is None else options

    def segment(self, support: Support, query: Tensor) -> Tensor:
        """Return the mean warped support mask of every query slice: (Q,1,H,W) -> (Q,H,W) in [0,1].

        Raises:
            UserError: support and query slices differ in size.
        """
        if support.masks.shape[-2:] != query.shape[-2:]:
            raise UserError(
                f"register-support: support slices of {tuple(support.masks.shape[-2:])} for query slices of "
                f"{tuple(query.shape[-2:])}; support and query must have the same size"
            )
        images = support.images[:, 0].cpu().numpy()
        masks = support.masks.cpu().numpy()
        shown = [n for n in range(len(masks)) if masks[n].any()]
        probability = np.zeros((len(query), *masks.shape[1:]), dtype=np.float32)
        for q, fixed in enumerate(query[:, 0].cpu().numpy()):
            for n in shown:
                probability[q] += warp_mask(masks[n], images[n], fixed, self.options)
        return torch.from_numpy(probability / len(masks)).to(query.device).clamp(0, 1)


def warp_mask(
    mask: NDArray[np.bool_], moving: NDArray[np.float32], fixed: NDArray[np.float32], options: Registration
) -> NDArray[np.float32]:
    """Return the mask of `moving` on the pixels of `fixed`, (H,W) in [0,1], after registration of the slices.

    Args:
        mask: (H,W), a mask of `moving`.
        moving: (H,W), the support slice.
        fixed: (H,W), the query slice.
        options: of the registration.
    """
    if np.ptp(moving) == 0 or np.ptp(fixed) == 0:
        return mask.astype(np.float32)
    target, source = (sitk.GetImageFromArray(_unit_range(slice_)) for slice_ in (fixed, moving))
    transform = register(target, source, options)
    warped = sitk.Resample(sitk.GetImageFromArray(mask.astype(np.float32)), target, transform)
    found: NDArray[np.float32] = sitk.GetArrayFromImage(warped)
    return found


def register(target: Any, source: Any, options: Registration) -> Any:
    """Return the transform from points of `target` to points of `source`, two slices as SimpleITK images."""
    affine = sitk.AffineTransform(2)
    affine.SetCenter([(side - 1) / 2 for side in target.GetSize()])
    method = _method(options, target)
    method.SetInitialTransform(affine, inPlace=True)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=1e-3, numberOfIterations=options.iterations, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.Execute(target, source)
    if options.mesh == 0:
        return affine
    spline = sitk.BSplineTransformInitializer(target, [options.mesh] * 2, 3)
    method = _method(options, target)
    method.SetMovingInitialTransform(affine)
    method.SetInitialTransform(spline, inPlace=True)
    method.SetOptimizerAsLBFGSB(numberOfIterations=options.iterations)
    method.Execute(target, source)
    return sitk.CompositeTransform([affine, spline])


def _method(options: Registration, target: Any) -> Any:
    """Return a registration over two resolutions on one thread, without random samples."""
    shrink = math.ceil(max(target.GetSize()) / FINEST)
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    if options.metric == "correlation":
        method.SetMetricAsCorrelation()
    else:
        method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel([2 * shrink, shrink])
    method.SetSmoothingSigmasPerLevel([shrink, shrink / 2])
    return method


def _unit_range(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the slice with percentiles 1 and 99 at 0 and 1, cut there; a flat middle keeps its range."""
    low, high = np.percentile(image, (1, 99))
    if low == high:
        low, high = image.min(), image.max()
    scaled: NDArray[np.float32] = np.clip((image - low) / (high - low), 0, 1).astype(np.float32)
    return scaled
