"""Counts of pixels and the ratios made of them: count first, divide last."""

from __future__ import annotations

from typing import Any


def count(pred: Any, truth: Any) -> tuple[Any, Any, Any]:
    """Return true positives, false positives, false negatives of two bool arrays of one shape.

    Takes torch tensors or numpy arrays of any shape; the sums are 0-dim and stay on the tensors' device.
    Raises `ValueError` where shapes differ or a dtype is not bool.
    """
    if tuple(pred.shape) != tuple(truth.shape):
        raise ValueError(f"prediction is {tuple(pred.shape)}, truth {tuple(truth.shape)}; wanted one shape")
    for name, mask in (("prediction", pred), ("truth", truth)):
        if not str(mask.dtype).endswith("bool"):
            raise ValueError(f"{name} is {mask.dtype}, wanted bool")
    return (pred & truth).sum(), (pred & ~truth).sum(), (~pred & truth).sum()


def dice(tp: int, fp: int, fn: int) -> float | None:
    """Return 2 tp / (2 tp + fp + fn) in [0, 1]; None where neither mask has a pixel."""
    return _ratio(2 * tp, 2 * tp + fp + fn)


def iou(tp: int, fp: int, fn: int) -> float | None:
    """Return tp / (tp + fp + fn) in [0, 1]; None where neither mask has a pixel."""
    return _ratio(tp, tp + fp + fn)


def precision(tp: int, fp: int) -> float | None:
    """Return tp / (tp + fp) in [0, 1]; None where nothing was predicted."""
    return _ratio(tp, tp + fp)


def recall(tp: int, fn: int) -> float | None:
    """Return tp / (tp + fn) in [0, 1]; None where the truth is empty."""
    return _ratio(tp, tp + fn)


def _ratio(numerator: int, denominator: int) -> float | None:
    return numerator / denominator if denominator else None
