"""Backbones in a work folder that are what stage 1 is about to make, but for how they were computed."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

from episodes.contrastive.images import Pictures
from fewshot.base.atomic_io import hash_of
from fewshot.pretraining.densecl import DenseCLRecipe

LOG = logging.getLogger("fewshot")


def log_reusable_backbones(
    work: Path, recipe: DenseCLRecipe, encoder: str, pictures: Pictures, rule: str, seed: int, precision: str
) -> None:
    """Log the finished backbones of the same numbers, images and seed that differ in processes or precision.

    Nothing is said where the one asked for, of one process and `precision`, is there itself.
    """
    wanted: dict[str, Any] = {
        "kind": "densecl",
        "encoder": encoder,
        "recipe": dataclasses.asdict(recipe),
        "normalisation": rule,
        "seed": seed,
    }
    images = hash_of(list(pictures.hashes))[:16]
    others = []
    for path in sorted((work / "backbones").glob("*/spec.json")):
        file, spec = path.with_name("backbone.pt"), json.loads(path.read_text())
        same = all(spec.get(name) == value for name, value in wanted.items())
        if not (same and spec["images"]["hash"] == images and spec["initial_weights"]["name"] == "random"):
            continue
        if file.is_file():
            if (spec["processes"], spec["precision"]) == (1, precision):
                return
            others.append((file, spec))
    for file, spec in others:
        LOG.info(
            "stage 1 is trained anew, though %s has the same numbers and images (%d processes, %s); to use "
            "such files, give --weights FILE, with {fold} in the name where every fold has one",
            file, spec["processes"], spec["precision"],
        )  # fmt: skip
