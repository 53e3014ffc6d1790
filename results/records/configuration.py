"""Identity of a result: the question of a record, its configuration, and the configuration's id."""

from __future__ import annotations

import dataclasses
from typing import Any

from fewshot.files.atomic_io import hash_of
from fewshot.identity.key_parts import method_key_part, weights_key_part
from results.records.record import Record
from results.records.record_json import part_json
from results.records.record_parts import DatasetPart

DIGITS = 8  # hex digits of an id
LEAST_DIGITS = 4  # the shortest prefix of an id that a user may give
MODEL_FIELDS = ("encoder", "initial_weights", "steps", "seed", "checkpoint", "recipe", "precision", "name")
UNUSUAL_FIELDS = ("answer_precision", "compiled")  # a configuration has them only if the record has them


def question(record: Record) -> dict[str, Any]:
    """Return protocol, dataset, setting, shots, parts and grid of a record, as plain JSON values.

    Only records with the same question may stand in one summary.
    """
    parts = {
        key: part_json(getattr(record, key)) for key in ("protocol", "setting", "shots", "parts", "grid")
    }
    return parts | {"dataset": _dataset(record.dataset)}


def configuration(record: Record) -> dict[str, Any]:
    """Return all that the cells of one configured method under one seed share, as plain JSON values."""
    method = part_json(record.method)
    model = {key: part_json(getattr(record.model, key)) for key in MODEL_FIELDS}
    model["initial_weights"] = weights_key_part(model["initial_weights"])
    unusual = {key: getattr(record.model, key) for key in UNUSUAL_FIELDS}
    model |= {key: value for key, value in unusual.items() if value is not None}
    if record.model.checkpoint == "external":  # each fold may have its own file, so the hashes differ
        model["initial_weights"] = {"name": "external", "sha256": None}
    return question(record) | {
        "method": method_key_part(method)
        | {"regime": method["regime"], "labels_used": method["labels_used"]},
        "versions": dict(record.versions),
        "queries": record.queries,
        "model": model,
        "train_dataset": None if record.train_dataset is None else _dataset(record.train_dataset),
        "audits": list(record.audits),
    }


def configuration_without_seed(record: Record) -> dict[str, Any]:
    """Return `configuration` without the seed, as plain JSON values."""
    full = configuration(record)
    return full | {"model": {key: value for key, value in full["model"].items() if key != "seed"}}


def configuration_id(record: Record) -> str:
    """Return the 8 hex digits that name a record's configuration in tables and commands; seeds share them."""
    return hash_of(configuration_without_seed(record))[:DIGITS]


def is_configuration_named(text: str, record: Record) -> bool:
    """Say whether a user's text names the configuration of a record.

    The text may be METHOD, METHOD@PROTOCOL, or at least the first 4 digits of the id, with or without "#".
    """
    method = record.method.name
    if text in (method, f"{method}@{record.protocol.name}"):
        return True
    digits = text.removeprefix("#")
    return len(digits) >= LEAST_DIGITS and configuration_id(record).startswith(digits)


def has_same_result(record: Record, other: Record) -> bool:
    """Say whether two records hold the same result.

    They may differ in key, environment, training machines, `prepared_by`, passed checks and, for a model
    trained in stages, skipped episodes.
    """
    return _result(record) == _result(other)


def _dataset(part: DatasetPart) -> dict[str, str]:
    """Return name and hash of a prepared dataset; the hash covers its content, not who prepared it."""
    return {"name": part.name, "hash": part.hash}


def _result(record: Record) -> dict[str, Any]:
    model = dataclasses.replace(record.model, trained_on=())
    if model.stages is not None:  # older records lack the skipped episodes of earlier stages
        stages = tuple(dataclasses.replace(stage, skipped_episodes=None) for stage in model.stages)
        model = dataclasses.replace(model, stages=stages, skipped_episodes=None)
    trained = record.train_dataset
    return vars(record) | {
        "environment": None,
        "checks": None,
        "key": None,
        "dataset": _dataset(record.dataset),
        "train_dataset": None if trained is None else _dataset(trained),
        "model": model,
    }
