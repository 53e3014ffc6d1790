"""Each learner of prototypes through `fewshot run`: trained, evaluated, recorded, and the same again."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import tiny_store

from fewshot.commands.main import main
from results.records.files import read_record

OPTIONS = {
    "adnet": {
        "alpha": 10.0,
        "kappa": 1.0,
        "initial_threshold": -5.0,
        "align_corners": False,
        "skip_empty_support": True,
    },
    "panet": {"scale": 10.0},
    "rpt": {
        "variant": "2023",
        "alpha": 18.0,
        "kappa": 0.4,
        "passes": 2,
        "draw_seed": 7,
        "few_cells": "repeat",
        "squash_again": False,
    },
    "gmrd": {
        "variant": "2023",
        "fill": "mean",
        "draw_seed": 3,
        "outer_ring": "ring",
        "learn_from_empty": False,
    },
    "kmeans": {"k_foreground": 2, "k_background": 3, "iterations": 4, "scale": 10.0},
    "qnet": {
        "alpha": 18.0,
        "kappa": 0.4,
        "fine_weight": 0.8,
        "refinement": "exchanged",
        "refinement_steps": 2,
        "refinement_rate": 0.02,
        "initial_threshold": -9.0,
        "align_corners": False,
        "skip_empty_support": True,
    },
}
SLOW = dict.fromkeys(("gmrd", "qnet", "rpt"), pytest.mark.slow)


@pytest.mark.parametrize("method", [pytest.param(name, marks=SLOW.get(name, ())) for name in OPTIONS])
def test_a_learner_runs_by_name_and_repeats_its_bytes(method: str, tmp_path: Path) -> None:
    options = [text for name, value in OPTIONS[method].items() for text in ("--option", f"{name}={value}")]
    records = []
    for name in ("one", "two"):
        work = tmp_path / name
        tiny_store(work / "stores" / "tiny")
        command = ["run", "--work", str(work), "--dataset", "tiny", "--folds", "0", "--groups", "upper"]
        model = ["--method", method, "--encoder", "resnet18", "--weights", "random", "--steps", "2"]
        assert main([*command, *model, *options]) == 0
        records.append({path.name: path.read_bytes() for path in (work / "records").glob("*.json")})
    assert records[0] == records[1] and len(records[0]) == 1
    record = read_record(tmp_path / "one" / "records" / next(iter(records[0])))
    assert record.method.name == method and record.method.options == OPTIONS[method]
    assert record.method.labels_used == "none" and record.model.steps == 2
    assert {score.class_name for score in record.scores} == {"liver", "spleen"}
    assert sum(score.tp + score.fp for score in record.scores) > 0
