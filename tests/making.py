"""Records made by hand for tests of records and tables."""

from __future__ import annotations

from typing import Any

from fewshot.types import ScanScore
from results.records import Record, make_record

GROUPS = {"lower": ["left-kidney"], "upper": ["liver", "spleen"]}


def score(name: str, scan: str, percent: int, support: str = "9") -> ScanScore:
    """Return a score whose Dice is exactly percent / 100: 2 tp = 2 percent, fp + fn = 200 - 2 percent."""
    return ScanScore(name, scan, (support,), 3, tp=percent, fp=200 - 2 * percent, fn=0)


def record(fold: int, group: str, scores: list[ScanScore], folds: int = 2, **changes: Any) -> Record:
    """Return a valid record; `changes` replace its parts, those of method, model and training key by key."""
    parts: dict[str, Any] = {
        "protocol": {"name": "alpnet-ep1", "version": 1, "hash": "a" * 64},
        "dataset": {"name": "tiny", "hash": "b" * 64},
        "grid": {"folds": folds, "groups": GROUPS},
        "setting": 2,
        "shots": 1,
        "parts": 3,
        "plan_hash": "c" * 16,
        "method": {
            "name": "ssl-alpnet",
            "options": {"window": 2},
            "source_hash": "d" * 16,
            "regime": "few-shot",
            "labels_used": "none",
        },
        "model": {
            "key": f"{fold:016x}",
            "encoder": "resnet18",
            "initial_weights": {"name": "random", "sha256": None},
            "steps": 300,
            "seed": 0,
            "checkpoint": "last",
            "skipped_episodes": 1 + fold,
        },
        "training": {"scans": ["1", "2"], "slices": 20, "slices_excluded": 7 if group == "upper" else 5},
        "environment": {
            "fewshot": "0.1.0",
            "commit": None,
            "dirty": None,
            "python": "3.12",
            "torch": "2",
            "device": "cpu",
        },
    }
    for key, value in changes.items():
        parts[key] = parts[key] | value if key in ("method", "model", "training") else value
    return make_record(fold=fold, group=group, scores=scores, **parts)
