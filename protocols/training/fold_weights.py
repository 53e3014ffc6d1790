"""Initial weights per fold: `{fold}` in the name of `--weights FILE` stands for the fold's number.

Each fold trains from its own file; the spec of its model holds the file's hash. Records hold the pattern, so
that one table holds all folds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from protocols.training.method import MethodConfig

FOLD = "{fold}"


def has_fold_placeholder(weights: str) -> bool:
    """Return whether every fold starts from its own file."""
    return FOLD in weights


def fill_fold(weights: str, fold: int) -> str:
    """Return the initial weights of a fold."""
    return weights.replace(FOLD, str(fold))


def for_fold(method: MethodConfig, fold: int) -> MethodConfig:
    """Return the method with the fold's own weights file."""
    if method.recipe is None or not has_fold_placeholder(method.recipe.weights):
        return method
    recipe = dataclasses.replace(method.recipe, weights=fill_fold(method.recipe.weights, fold))
    return dataclasses.replace(method, recipe=recipe)


def per_fold_variants(method: MethodConfig, folds: Sequence[int]) -> list[MethodConfig]:
    """Return the method once per weights file of `folds`; once if all folds share their weights."""
    every = [for_fold(method, fold) for fold in folds]
    return every if method.recipe is not None and has_fold_placeholder(method.recipe.weights) else every[:1]


def weights_label(weights: str) -> dict[str, Any]:
    """Return the `initial_weights` of a record for a pattern: its base name, without a hash."""
    return {"name": Path(weights).name, "sha256": None}
