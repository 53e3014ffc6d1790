"""Checkpoint files that were not trained here: one file per fold and group, strictly loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from episodes.plan import Plan
from fewshot.checkpoints import load_released
from fewshot.errors import UserError
from fewshot.files import sha256_of
from protocols.method import Method
from protocols.models import Model, built

LEAKAGE = "leakage possible: one checkpoint for several folds"


def checkpoint_files(pattern: str, plans: Sequence[Plan], same_for_all: bool) -> dict[tuple[int, str], Path]:
    """Return the file of every (fold, group); `{fold}` and `{group}` in `pattern` are filled in.

    One file for several folds is refused unless `same_for_all`: it has seen the queries of some fold.
    """
    files = {}
    for plan in plans:
        try:
            path = Path(pattern.format(fold=plan.fold, group=plan.group))
        except (KeyError, IndexError, ValueError):
            raise UserError(
                f"checkpoint pattern {pattern!r}: only {{fold}} and {{group}} may stand in braces"
            ) from None
        if not path.is_file():
            raise UserError(
                f"checkpoint {str(path)!r} does not exist; give a file, or a pattern with {{fold}}, {{group}}"
            )
        files[plan.fold, plan.group] = path
    folds = {fold for fold, _group in files}
    for path in dict.fromkeys(files.values()):
        served = sorted({fold for (fold, _group), file in files.items() if file.samefile(path)})
        if len(served) > 1 and len(folds) > 1 and not same_for_all:
            raise UserError(
                f"checkpoint {str(path)!r} would serve folds {', '.join(map(str, served))}, so it may "
                "have been trained on the queries of some; put {fold} into the pattern, or add "
                "--same-checkpoint to have the records marked"
            )
    return files


def external_model(method: Method, path: Path, device: torch.device) -> Model:
    """Load one checkpoint file into the method; its record says `external` and holds the file's sha256."""
    assert method.recipe is not None
    learner = built(method)
    load_released(path, learner)
    learner.to(device).eval()
    sha256 = sha256_of(path)
    description: dict[str, Any] = {
        "key": f"external-{sha256[:16]}",
        "encoder": method.recipe.encoder,
        "initial_weights": {"name": "external", "sha256": sha256},
        "steps": None,
        "seed": method.seed,
        "checkpoint": "external",
        "skipped_episodes": None,
        "trained_on": [],
    }
    return Model(learner, description, None)
