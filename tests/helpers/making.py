"""Records made by hand for tests of records and tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fewshot.base.types import ScanScore
from results.records.record import SCHEMA, Record
from results.records.record_parts import Score

GROUPS = {"lower": ["left-kidney"], "upper": ["liver", "spleen"]}
UNKNOWN = {"name": "tiny", "hash": "b" * 64, "prepared_by": "unknown"}
VERSIONS = {"encoder": 1, "evaluation": 1, "training": 1}


def score(name: str, scan: str, percent: int, support: str = "9") -> ScanScore:
    """Return a score whose Dice is exactly percent / 100: 2 tp = 2 percent, fp + fn = 200 - 2 percent."""
    return ScanScore(name, scan, (support,), 3, tp=percent, fp=200 - 2 * percent, fn=0)


def recorded(score: ScanScore) -> Score:
    """Return a score as a record holds it."""
    return Score(
        score.class_name, score.scan, score.supports, score.slices, score.tp, score.fp, score.fn, score.dice,
        score.undefined,
    )  # fmt: skip


def record(fold: int, group: str, scores: list[ScanScore], folds: int = 2, **changes: Any) -> Record:
    """Return a valid record; `changes` replace its parts, those that are objects key by key."""
    parts: dict[str, Any] = {
        "schema": SCHEMA,
        "protocol": {"name": "alpnet-ep1", "version": 1, "hash": "a" * 64},
        "dataset": UNKNOWN,
        "train_dataset": None,
        "grid": {"folds": folds, "groups": GROUPS},
        "setting": 2,
        "fold": fold,
        "group": group,
        "shots": 1,
        "parts": 3,
        "plan_hash": "c" * 16,
        "method": {
            "name": "ssl-alpnet",
            "version": 1,
            "source": None,
            "options": {"window": 2},
            "files": {},
            "regime": "few-shot",
            "labels_used": "none",
        },
        "versions": VERSIONS,
        "queries": "alone",
        "model": {
            "key": f"{fold:016x}",
            "encoder": "resnet18",
            "initial_weights": {"name": "random", "sha256": None},
            "steps": 300,
            "seed": 0,
            "checkpoint": "last",
            "skipped_episodes": 1 + fold,
            "finite": True,
            "trained_on": [],
            "name": None,
        },
        "training": {"scans": ["101", "102"], "slices": 20, "slices_excluded": 7 if group == "upper" else 5},
        "audits": [],
        "fallback_slices": 0,
        "scores": [score_json(one) for one in scores],
        "environment": {
            "fewshot": "0.1.0",
            "commit": None,
            "dirty": None,
            "python": "3.12",
            "torch": "2",
            "device": "cpu",
            "threads": 1,
            "processor": None,
        },
    }
    return Record.from_json(with_changes(parts, changes))


def score_json(score: ScanScore) -> dict[str, Any]:
    """Return a score as the JSON of a record holds it."""
    return {
        "class": score.class_name, "scan": score.scan, "supports": list(score.supports),
        "slices": score.slices, "tp": score.tp, "fp": score.fp, "fn": score.fn, "dice": score.dice,
        "undefined": score.undefined,
    }  # fmt: skip


def changed(record: Record, **changes: Any) -> Record:
    """Return a valid record with other parts, those that are objects key by key."""
    return Record.from_json(with_changes(record.to_json(), changes))


def with_changes(parts: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON of a record with other parts; a part that is an object keeps its other keys."""
    merged = dict(parts)
    for key, value in changes.items():
        old = merged.get(key)
        whole = key == "grid" or not isinstance(value, Mapping) or not isinstance(old, Mapping)
        merged[key] = value if whole else {**old, **value}
    return merged
