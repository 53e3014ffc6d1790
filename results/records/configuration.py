"""What tells results apart: the question of a record, its configuration, and the configuration's id."""

from __future__ import annotations

import dataclasses
from typing import Any

from fewshot.base.atomic_io import hash_of
from fewshot.identity.key_parts import method_key_part, weights_key_part
from results.records.record import Record
from results.records.record_json import part_json
from results.records.record_parts import DatasetPart

DIGITS = 8  # hex digits of an id
LEAST_DIGITS = 4  # of an id, where a user names one by its beginning
MODEL_FIELDS = ("encoder", "initial_weights", "steps", "seed", "checkpoint", "recipe", "precision", "name")
UNUSUAL_FIELDS = ("answer_precision", "compiled")  # in a configuration only where they are in the record


def question(record: Record) -> dict[str, Any]:
    """Return what records must share to stand in one summary, as plain JSON values.

    Those are protocol, dataset, setting, shots, parts and grid.
    """
    parts = {
        key: part_json(getattr(record, key)) for key in ("protocol", "setting", "shots", "parts", "grid")
    }
    return parts | {"dataset": _dataset(record.dataset)}


def configuration(record: Record) -> dict[str, Any]:
    """Return what all cells of one method, as configured, under one seed share, as plain JSON values."""
    method = part_json(record.method)
    model = {key: part_json(getattr(record.model, key)) for key in MODEL_FIELDS}
    model["initial_weights"] = weights_key_part(model["initial_weights"])
    unusual = {key: getattr(record.model, key) for key in UNUSUAL_FIELDS}
    model |= {key: value for key, value in unusual.items() if value is not None}
    if record.model.checkpoint == "external":  # every fold may have a file, and so a hash, of its own
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
    """Return what all cells of one method, as configured, share under every seed, as plain JSON values."""
    found = configuration(record)
    return found | {"model": {key: value for key, value in found["model"].items() if key != "seed"}}


def configuration_id(record: Record) -> str:
    """Return the hex digits that name a record's configuration in every table and command; seeds share it."""
    return hash_of(configuration_without_seed(record))[:DIGITS]


def is_configuration_named(text: str, record: Record) -> bool:
    """Say whether a user's text names the configuration of a record.

    It may be the method, METHOD@PROTOCOL, or the id or its beginning (4 digits or more), with or without a
    "#".
    """
    method = record.method.name
    if text in (method, f"{method}@{record.protocol.name}"):
        return True
    digits = text.removeprefix("#")
    return len(digits) >= LEAST_DIGITS and configuration_id(record).startswith(digits)


def has_same_result(one: Record, other: Record) -> bool:
    """Say whether two records differ in nothing but what made them and what they say beside the result.

    That is the environment, the machines of the training, who prepared the data, the audits passed, and, for
    a model in stages, the episodes skipped.
    """
    return _result(one) == _result(other)


def _dataset(part: DatasetPart) -> dict[str, str]:
    """Return what identifies a prepared dataset; its hash covers its content, whoever prepared it."""
    return {"name": part.name, "hash": part.hash}


def _result(record: Record) -> dict[str, Any]:
    model = dataclasses.replace(record.model, trained_on=())
    if model.stages is not None:  # older records do not know what the earlier stages skipped
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
