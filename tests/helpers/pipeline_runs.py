"""Runs of DenseMP's stages at toy size, and what they leave behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from fewshot.commands.main import main
from results.records.files import read_record
from results.records.record import Record
from results.records.record_parts import ModelPart, StagePart

MODEL = ["--encoder", "resnet18", "--steps", "2", "--option", "stage3_steps=6", "--option", "annotated=0.5"]
FOLD = ["--dataset", "tiny", "--folds", "0"]


def new_work(folder: Path, store: Path) -> Path:
    shutil.copytree(store, folder / "work" / "stores" / "tiny")
    return folder / "work"


def run(work: Path, *more: str, method: str = "densemp") -> int:
    model = MODEL if method == "densemp" else MODEL[:4]
    if "--stages" in more and "2" not in more[more.index("--stages") + 1]:
        model = [*model[:2], *model[4:]]
    return main(["run", "--work", str(work), *FOLD, "--method", method, *model, *more])


def records(work: Path) -> list[Record]:
    return [read_record(path) for path in sorted((work / "records").glob("*.json"))]


def of_group(work: Path, group: str = "upper", stages: str = "1,2,3") -> Record:
    """Return the only record of DenseMP of a group and stages whose stage 1, if any, was made with it."""
    wanted = [int(stage) for stage in stages.split(",")]
    (found,) = [
        record
        for record in records(work)
        if record.group == group
        and record.method.options.get("stages") == wanted
        and record.model.initial_weights is not None
        and not record.model.initial_weights.name.endswith(".pth")
    ]
    return found


def labels_logged(work: Path, key: str) -> list[str]:
    lines = (work / "models" / key / "episodes.jsonl").read_text().splitlines()
    return [json.loads(line)["episode"] for line in lines]


def stage_of(model: ModelPart, name: str) -> StagePart:
    """Return the stage of a model by its name."""
    (stage,) = (stage for stage in model.stages or () if stage.name == name)
    return stage
