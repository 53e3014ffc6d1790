"""Ablations: a method trained with and without each of its modules, under several seeds."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from fewshot.base.errors import UserError
from fewshot.learners.registry import resolve_method
from fewshot.recipes.named_recipe import PUBLISHED
from fewshot.studies.offers import ablation_rows
from protocols.request import Request
from protocols.runs.runner import run, validate_and_plan
from protocols.training.method import MethodConfig
from protocols.training.method_config import build_method_config
from results.comparison.ablation import AblationRow
from results.records.files import read_record

LOG = logging.getLogger("fewshot")


def build_ablation(
    name: str,
    settings: Mapping[str, str],
    seeds: Sequence[int],
    *,
    encoder: str | None,
    weights: str | None,
    steps: int | None,
    precision: str,
    recipe: str = PUBLISHED,
) -> dict[str, list[MethodConfig]]:
    """Return label -> the method under every seed, for the ablation rows that a learner class offers.

    A row's options replace `settings` (from `--option`). Raises `UserError` for a method without ablations,
    and for a setting that a row sets.
    """
    rows = ablation_rows(name)
    for key in settings:
        if any(key in options for options in rows.values()):
            raise UserError(f"--option {key}: the rows of the ablation set it themselves; leave it out")
    learner = resolve_method(name)
    methods = {}
    for label, options in rows.items():
        more, begin, long = {**settings, **options}, weights, steps
        if hasattr(learner, "row_arguments"):
            typed = {"weights": weights, "steps": more.get("steps", steps)}
            kept = learner.row_arguments(options, typed)
            begin = kept["weights"]
            if kept["steps"] is None:
                long = None
                more.pop("steps", None)
        methods[label] = [
            build_method_config(
                name,
                more,
                encoder=encoder,
                weights=begin,
                steps=long,
                seed=seed,
                precision=precision,
                recipe=recipe,
            )
            for seed in seeds
        ]
    return methods


def run_ablation(request: Request, methods: Mapping[str, Sequence[MethodConfig]]) -> list[AblationRow]:
    """Train missing models, evaluate every row and seed on the cells of `request`, and return their records.

    Rows may start from different weights, so all rows are checked before the first training.
    """
    for seeds in methods.values():
        for method in seeds:
            validate_and_plan(request, method)
    rows = []
    for label, seeds in methods.items():
        records = {}
        for method in seeds:
            LOG.info("%s: %s, seed %d", method.name, label, method.seed)
            records[method.seed] = [read_record(path) for path in run(request, method)]
        rows.append(AblationRow(label, records))
    return rows
