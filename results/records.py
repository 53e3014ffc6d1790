"""Records: one JSON file per cell, holding only what the cell's inputs determine; made, checked, read here.

The schema is DESIGN's, plus `grid` (the folds and groups a complete table must have, so that a table
made of records alone can tell what is missing) and `fallback_slices` (query slices answered by the
method's fallback). `model` may also hold `recipe` and `precision`, a record `checks`: the audits it passed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fewshot.errors import UserError
from fewshot.files import canonical_json, hash_of, write_json
from fewshot.types import ScanScore
from results.record_schema import RECORD, fault
from results.scores import dice

SCHEMA = 1
Record = dict[str, Any]


def make_record(
    *,
    protocol: Mapping[str, Any],
    dataset: Mapping[str, Any],
    grid: Mapping[str, Any],
    setting: int,
    fold: int,
    group: str,
    shots: int,
    parts: int,
    plan_hash: str,
    versions: Mapping[str, int],
    method: Mapping[str, Any],
    model: Mapping[str, Any],
    training: Mapping[str, Any],
    scores: Sequence[ScanScore],
    environment: Mapping[str, Any],
    audits: Sequence[str] = (),
    fallback_slices: int = 0,
    train_dataset: Mapping[str, Any] | None = None,
    checks: Sequence[str] = (),
) -> Record:
    """Return a checked record of plain JSON values.

    `grid` is {"folds": number, "groups": {group: [class names]}}: all cells of the complete table. `audits`
    are marks a reader must see, e.g. "leakage possible"; `checks` the audits that passed.
    Raises `UserError` where `validate` would.
    """
    record: Record = {
        "schema": SCHEMA,
        "protocol": protocol,
        "dataset": dataset,
        "train_dataset": train_dataset,
        "grid": grid,
        "setting": setting,
        "fold": fold,
        "group": group,
        "shots": shots,
        "parts": parts,
        "plan_hash": plan_hash,
        "versions": versions,
        "method": method,
        "model": model,
        "training": training,
        "audits": list(audits),
        "fallback_slices": fallback_slices,
        "scores": [_score_json(score) for score in scores],
        "environment": environment,
    }
    if checks:
        record["checks"] = list(checks)
    plain: Record = json.loads(canonical_json(record))
    validate(plain)
    return plain


def cell_key(identity: Mapping[str, Any]) -> str:
    """Return the first 16 hex digits of the sha256 of what tells one cell from all others."""
    return hash_of(identity)[:16]


def validate(record: Any, source: str = "record") -> None:
    """Raise `UserError` naming `source`, the key and the reason where a record breaks the schema.

    Every ratio must equal its counts, every class must be of the record's group, every score must be
    the only one of its class, scan and supports.
    """
    found = fault(record, RECORD, "")
    if found is None:
        found = _inner_fault(record)
    if found is not None:
        raise UserError(f"{source}: {found}; delete the file and run the cell again")


def write_record(path: Path, record: Record) -> None:
    """Check and write a record, whole or not at all; equal records give equal bytes."""
    validate(record, str(path))
    write_json(path, record)


def read_record(path: Path) -> Record:
    """Return the checked record in a file; a missing, broken or inconsistent one is a `UserError`."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise UserError(f"cannot read record {path}: {error.strerror}; give an existing file") from None
    except ValueError as error:
        raise UserError(f"{path}: not a JSON record ({error}); delete it and run the cell again") from None
    validate(record, str(path))
    assert isinstance(record, dict)
    return record


def read_records(folder: Path) -> list[Record]:
    """Return all records (`*.json`) of a folder, by file name; a missing folder is a `UserError`."""
    if not folder.is_dir():
        raise UserError(f"no folder of records at {folder}; run `fewshot run` first or give --records DIR")
    return [read_record(path) for path in sorted(folder.glob("*.json"))]


def _score_json(score: ScanScore) -> dict[str, Any]:
    return {
        "class": score.class_name,
        "scan": score.scan,
        "supports": list(score.supports),
        "slices": score.slices,
        "tp": score.tp,
        "fp": score.fp,
        "fn": score.fn,
        "dice": score.dice,
        "undefined": score.undefined,
    }


def _inner_fault(record: Record) -> str | None:
    """Return what contradicts itself in a record of the right form, or None."""
    grid, group = record["grid"], record["group"]
    if record["fold"] >= grid["folds"]:
        return f"fold is {record['fold']}, wanted less than grid.folds {grid['folds']}"
    if group not in grid["groups"]:
        return f"group is {group!r}, wanted one of grid.groups: {', '.join(sorted(grid['groups']))}"
    hybrid = any(mark.startswith("hybrid") for mark in record["audits"])
    if record["setting"] == 1 and record["training"]["slices_excluded"] and not hybrid:
        return f"training.slices_excluded is {record['training']['slices_excluded']}, wanted 0 in setting 1"
    seen = set()
    for number, score in enumerate(record["scores"]):
        where = f"scores[{number}]"
        if score["class"] not in grid["groups"][group]:
            return f"{where}.class is {score['class']!r}, wanted a class of group {group!r}"
        question = (score["class"], score["scan"], tuple(score["supports"]))
        if question in seen:
            return f"{where} repeats class {question[0]!r} of scan {question[1]!r}, wanted one score each"
        seen.add(question)
        reason = _score_fault(score)
        if reason is not None:
            return f"{where}{reason}"
    unscored = sorted(set(grid["groups"][group]) - {score["class"] for score in record["scores"]})
    return f"scores hold none of class {unscored[0]!r} of group {group!r}" if unscored else None


def _score_fault(score: Mapping[str, Any]) -> str | None:
    counts = score["tp"], score["fp"], score["fn"]
    if score["undefined"] is not None:
        if score["dice"] is not None or any(counts):
            return f".dice is {score['dice']} of counts {counts}, wanted null and zeros where undefined"
        return None
    wanted = dice(*counts)
    if wanted is None:
        return ".undefined is null, wanted a reason where no pixel was counted"
    if score["dice"] != wanted:
        return f".dice is {score['dice']}, wanted {wanted} = 2 tp / (2 tp + fp + fn) of its counts"
    return None


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number a record may hold")
