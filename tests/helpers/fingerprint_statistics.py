"""What the numeric fingerprint keeps of tensors, scores and trainings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fewshot.base.types import ScanScore

Numbers = dict[str, Any]


def tensor_numbers(values: Tensor | NDArray[Any]) -> Numbers:
    """Return shape and sums of a tensor: plain, of absolute values, and weighted by place from 0 to 1."""
    flat = np.asarray(values, dtype=np.float64).ravel()
    return {
        "shape": "x".join(map(str, values.shape)),
        "sum": float(flat.sum()),
        "absolute": float(np.abs(flat).sum()),
        "weighted": float(flat @ np.linspace(0, 1, len(flat))),
    }


def score_numbers(scores: Sequence[ScanScore]) -> Numbers:
    """Return counts of pixels by class and query scan."""
    return {
        f"{one.class_name} scan {one.scan}": {"slices": one.slices, "tp": one.tp, "fp": one.fp, "fn": one.fn}
        for one in scores
    }


def losses_of(folder: Path) -> dict[str, list[float | str]]:
    """Return column -> values of a training's losses.csv; a value that is missing is an empty text."""
    header, *rows = (folder / "losses.csv").read_text().splitlines()
    columns = zip(*(row.split(",") for row in rows), strict=True)
    return {
        name: [float(value) if value else "" for value in column]
        for name, column in zip(header.split(","), columns, strict=True)
    }
