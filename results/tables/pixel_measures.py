"""Measures of pictures over pixels: Dice, sensitivity, specificity, accuracy; pooled and per picture."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from results.metrics.counts import dice
from results.records.record import Record
from results.records.record_parts import Score

NAMES = ("Dice", "sensitivity", "specificity", "accuracy")


@dataclass(frozen=True)
class PixelMeasures:
    """Ratios in [0, 1], NaN where undefined.

    `pooled`: of the counts of all pictures, as published; `per_picture`: means over pictures, undefined ones
    left out; `undefined`: how many pictures each mean leaves out; `pictures`: their number.
    """

    pooled: tuple[float, ...]
    per_picture: tuple[float, ...]
    undefined: tuple[int, ...]
    pictures: int


def pixel_measures(scores: Sequence[Score], pixels: int) -> PixelMeasures:
    """Return the measures of one class over pictures.

    Args:
        scores: of the class, one for each picture.
        pixels: of a slice.
    """
    each = [_ratios(*counts) for counts in (_counts(score, pixels) for score in scores)]
    totals = [sum(column) for column in zip(*(_counts(score, pixels) for score in scores), strict=True)]
    pooled = _ratios(*totals) if totals else (math.nan,) * 4
    columns = [[row[place] for row in each if not math.isnan(row[place])] for place in range(4)]
    means = tuple(statistics.fmean(column) if column else math.nan for column in columns)
    undefined = tuple(len(each) - len(column) for column in columns)
    return PixelMeasures(pooled, means, undefined, len(each))


def pixel_lines(records: Sequence[Record], image_size: int) -> list[str]:
    """Return the lines of each class in percent: over pixels, and means over pictures."""
    lines = []
    classes = dict.fromkeys(score.class_name for record in records for score in record.scores)
    for name in classes:
        scores = [score for record in records for score in record.scores if score.class_name == name]
        made = pixel_measures(scores, image_size**2)
        for kind, ratios in (("over pixels", made.pooled), ("mean over pictures", made.per_picture)):
            texts = (
                f"{measure} {'undefined' if math.isnan(value) else f'{100 * value:.2f}'}"
                for measure, value in zip(NAMES, ratios, strict=True)
            )
            lines.append(f"{name}, {made.pictures} pictures, {kind}: {', '.join(texts)}")
    return lines


def _counts(score: Score, pixels: int) -> tuple[int, int, int, int]:
    """Return true and false positives, false negatives and true negatives of a picture's scored slices."""
    rest = score.slices * pixels - score.tp - score.fp - score.fn
    return score.tp, score.fp, score.fn, rest


def _ratios(tp: int, fp: int, fn: int, tn: int) -> tuple[float, float, float, float]:
    overlap = dice(tp, fp, fn)
    return (
        math.nan if overlap is None else overlap,
        _ratio(tp, tp + fn),
        _ratio(tn, tn + fp),
        _ratio(tp + tn, tp + fp + fn + tn),
    )


def _ratio(part: int, total: int) -> float:
    return part / total if total else math.nan
