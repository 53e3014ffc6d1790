"""`--weights FILE` with a file for every fold: `{fold}` in the name stands for the fold's number.

Each fold trains from its own file, which the spec of its model names with its hash. Records name the pattern,
so that the folds stand in one table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from protocols.training.method import MethodConfig

FOLD = "{fold}"


def has_fold_placeholder(weights: str) -> bool:
    """Say whether every fold begins from a file of its own."""
    return FOLD in weights


def fill_fold(weights: str, fold: int) -> str:
    """Return the weights that a fold begins from."""
    return weights.replace(FOLD, str(fold))


def for_fold(method: MethodConfig, fold: int) -> MethodConfig:
    """Return the method as a fold trains it: from the fold's own file."""
    if method.recipe is None or not has_fold_placeholder(method.recipe.weights):
        return method
    recipe = dataclasses.replace(method.recipe, weights=fill_fold(method.recipe.weights, fold))
    return dataclasses.replace(method, recipe=recipe)


def per_fold_variants(method: MethodConfig, folds: Sequence[int]) -> list[MethodConfig]:
    """Return the method as often as its folds begin from different weights."""
    every = [for_fold(method, fold) for fold in folds]
    return every if method.recipe is not None and has_fold_placeholder(method.recipe.weights) else every[:1]


def weights_label(weights: str) -> dict[str, Any]:
    """Return what a record says of the initial weights of a pattern: its base name, and no fold's hash."""
    return {"name": Path(weights).name, "sha256": None}
