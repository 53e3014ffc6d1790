"""Sentences of slices: as stored, made from the names of the classes, or from the labels' positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fewshot.base.errors import UserError
from fewshot.base.types import SliceRef

STORED = "stored"  # of the dataset
CLASSES = "classes"  # the tested classes; the same sentence for every slice
POSITIONS = "positions"  # the shown classes and their thirds of the slice: derived from labels
KINDS = (STORED, CLASSES, POSITIONS)
ROWS, COLUMNS = ("upper", "middle", "lower"), ("left", "centre", "right")


def stored_sentence(ref: SliceRef, sentences: Sequence[str]) -> str:
    """Return the stored sentence of a slice; `UserError` for a scan without sentences."""
    if not sentences:
        raise UserError(f"scan {ref.scan} has no sentence, expected one for each slice; prepare it with them")
    return sentences[ref.z]


def class_sentence(classes: Sequence[str]) -> str:
    """Return a sentence that names the classes, such as "liver, spleen."."""
    return ", ".join(name.replace("-", " ") for name in classes) + "."


def position_sentence(labels: NDArray[np.uint8], values: Mapping[str, int]) -> str:
    """Return a sentence that names each shown class and the third of the slice where its centre lies.

    Such as "liver upper left, spleen middle right."; the left is that of the stored array. Without a shown
    class it is "nothing.".

    Args:
        labels: stored class values (H,W).
        values: class name -> stored value.
    """
    parts = []
    for name, value in values.items():
        places = np.argwhere(labels == value)
        if len(places):
            row, column = (
                min(2, int(3 * centre / side))
                for centre, side in zip(places.mean(0), labels.shape, strict=True)
            )
            parts.append(f"{name.replace('-', ' ')} {ROWS[row]} {COLUMNS[column]}")
    return (", ".join(parts) or "nothing") + "."
