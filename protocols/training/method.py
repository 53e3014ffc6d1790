"""A method with every number fixed: learner class, options, recipe, seed and precision."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fewshot.identity.regimes import needs_of
from fewshot.learners.learner import PrototypeLearner
from fewshot.learners.method_identity import method_name, method_source, method_version, option_files
from fewshot.learners.recipe import Recipe


@dataclass(frozen=True)
class MethodConfig:
    """A method with its options and recipe, built from `--method`, `--option`, `--steps` and the like."""

    name: str
    learner: type[Any]
    options: Any
    recipe: Recipe | None  # None: nothing to train
    seed: int
    precision: str = "float32"
    compiled: bool = (
        False  # whether torch compiles the training step; last bits differ, so the model has another key
    )
    marks: tuple[str, ...] = ()  # audits of every record made with it

    @cached_property
    def description(self) -> dict[str, Any]:
        """Return the `method` part of a record."""
        labels = getattr(self.learner, "labels_used", "none")
        options = dataclasses.asdict(self.options)
        if issubclass(self.learner, PrototypeLearner):
            labels = self.learner.labels_of(self.options)
            weights = None if self.recipe is None else self.recipe.weights
            options = self.learner.used_options(self.options, weights)
        return {
            "name": method_name(self.name, self.learner),
            "version": method_version(self.learner),
            "source": method_source(self.learner),
            "options": options,
            "files": {name: digest for name, digest in option_files(self.options).items() if name in options},
            "regime": getattr(self.learner, "regime", "few-shot"),
            "labels_used": labels,
        } | ({"needs": list(needs)} if (needs := needs_of(self.learner).texts()) else {})
