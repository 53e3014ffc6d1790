"""Pixel counts and the ratios computed from them: count first, divide last."""

from __future__ import annotations

from typing import Any


def count(pred: Any, truth: Any) -> tuple[Any, Any, Any]:
    """Return true positives, false positives and false negatives of two masks, in pixels.

    Args:
        pred, truth: bool numpy arrays or torch tensors of one shape, any shape.

    Returns:
        Three 0-dim sums, on the device of the tensors.

    Raises:
        ValueError: the shapes differ or a dtype is not bool.
    """
    if tuple(pred.shape) != tuple(truth.shape):
        raise ValueError(f"prediction is {tuple(pred.shape)}, truth {tuple(truth.shape)}; expected one shape")
    for name, mask in (("prediction", pred), ("truth", truth)):
        if not str(mask.dtype).endswith("bool"):
            raise ValueError(f"{name} is {mask.dtype}, expected bool")
    return (pred & truth).sum(), (pred & ~truth).sum(), (~pred & truth).sum()


def dice(tp: int, fp: int, fn: int) -> float | None:
    """Return 2 tp / (2 tp + fp + fn) in [0, 1]; None if both masks are empty."""
    return _ratio(2 * tp, 2 * tp + fp + fn)


def iou(tp: int, fp: int, fn: int) -> float | None:
    """Return tp / (tp + fp + fn) in [0, 1]; None if both masks are empty."""
    return _ratio(tp, tp + fp + fn)


def precision(tp: int, fp: int) -> float | None:
    """Return tp / (tp + fp) in [0, 1]; None if the prediction is empty."""
    return _ratio(tp, tp + fp)


def recall(tp: int, fn: int) -> float | None:
    """Return tp / (tp + fn) in [0, 1]; None if the truth is empty."""
    return _ratio(tp, tp + fn)


def _ratio(numerator: int, denominator: int) -> float | None:
    return numerator / denominator if denominator else None
