"""The ratios that counts give, by name: Dice, IoU, precision, recall; None and the reason where undefined."""

from __future__ import annotations

from typing import Protocol

from fewshot.base.errors import unknown_name
from results.metrics.counts import dice, iou, precision, recall

MEASURES = {"dice": "Dice", "iou": "IoU", "precision": "Precision", "recall": "Recall"}


class PixelCounts(Protocol):
    """Counts of one class in one scan; `undefined` is the reason where there are none."""

    @property
    def tp(self) -> int: ...
    @property
    def fp(self) -> int: ...
    @property
    def fn(self) -> int: ...
    @property
    def undefined(self) -> str | None: ...


def measure(score: PixelCounts, name: str) -> tuple[float | None, str | None]:
    """Return (ratio in [0, 1], None), or (None, reason) where a record's score has no such ratio.

    A score that is undefined (its class is absent from the query) is so for every measure. Precision is
    undefined, not 0, where nothing was predicted. A wrong name is a `UserError`.
    """
    if name not in MEASURES:
        raise unknown_name("measure", name, MEASURES)
    if score.undefined is not None:
        return None, score.undefined
    tp, fp, fn = score.tp, score.fp, score.fn
    if name == "precision":
        return _or_reason(precision(tp, fp), "nothing was predicted")
    if name == "recall":
        return _or_reason(recall(tp, fn), "the truth is empty")
    return _or_reason(dice(tp, fp, fn) if name == "dice" else iou(tp, fp, fn), "both masks are empty")


def _or_reason(ratio: float | None, reason: str) -> tuple[float | None, str | None]:
    return (ratio, None) if ratio is not None else (None, reason)
