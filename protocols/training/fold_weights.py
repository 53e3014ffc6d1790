"""`--weights FILE` with a file for every fold: `{fold}` in the name stands for the fold's number.

Each fold trains from its own file, which the spec of its model names with its hash. Records name the pattern,
so that the folds stand in one table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from protocols.training.method import Method

FOLD = "{fold}"


def is_pattern(weights: str) -> bool:
    """Say whether every fold begins from a file of its own."""
    return FOLD in weights


def filled_in(weights: str, fold: int) -> str:
    """Return the weights that a fold begins from."""
    return weights.replace(FOLD, str(fold))


def of_fold(method: Method, fold: int) -> Method:
    """Return the method as a fold trains it: from the fold's own file."""
    if method.recipe is None or not is_pattern(method.recipe.weights):
        return method
    recipe = dataclasses.replace(method.recipe, weights=filled_in(method.recipe.weights, fold))
    return dataclasses.replace(method, recipe=recipe)


def different(method: Method, folds: Sequence[int]) -> list[Method]:
    """Return the method as often as its folds begin from different weights."""
    every = [of_fold(method, fold) for fold in folds]
    return every if method.recipe is not None and is_pattern(method.recipe.weights) else every[:1]


def told_of(weights: str) -> dict[str, Any]:
    """Return what a record says of the initial weights of a pattern: its base name, and no fold's hash."""
    return {"name": Path(weights).name, "sha256": None}
