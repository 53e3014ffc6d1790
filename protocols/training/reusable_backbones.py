"""Finished backbones with equal recipe, images and seed, but another process count or precision."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from episodes.contrastive.images import Pictures
from fewshot.base.errors import UserError
from fewshot.files.atomic_io import hash_of
from fewshot.pretraining.densecl import DenseCLRecipe
from protocols.training.spec_file import read_backbone_spec

LOG = logging.getLogger("fewshot")


def log_reusable_backbones(
    work: Path, recipe: DenseCLRecipe, encoder: str, pictures: Pictures, rule: str, seed: int, precision: str
) -> None:
    """Log finished backbones that differ from the requested one only in process count or precision.

    If the requested backbone (one process, `precision`) is itself finished, nothing is logged.
    """
    expected: dict[str, Any] = {
        "kind": "densecl",
        "encoder": encoder,
        "recipe": dataclasses.asdict(recipe),
        "normalisation": rule,
        "seed": seed,
    }
    images = hash_of(list(pictures.hashes))[:16]
    others = []
    for path in sorted((work / "backbones").glob("*/spec.json")):
        try:
            file, spec = path.with_name("backbone.pt"), read_backbone_spec(path.parent)
        except UserError as error:
            LOG.warning("left out: %s", error)
            continue
        same = all(spec.get(name) == value for name, value in expected.items())
        if not (same and spec["images"]["hash"] == images and spec["initial_weights"]["name"] == "random"):
            continue
        if file.is_file():
            if (spec["processes"], spec["precision"]) == (1, precision):
                return
            others.append((file, spec))
    for file, spec in others:
        LOG.info(
            "the backbone is pre-trained anew, though %s has the same numbers and images (%d processes, %s); "
            "to use such files, give --weights FILE, with {fold} in the name where every fold has one",
            file, spec["processes"], spec["precision"],
        )  # fmt: skip
