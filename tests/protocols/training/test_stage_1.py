"""DenseMP with its real stage 1: its numbers, what is trained once, what the log says of other backbones."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from pipeline_runs import stage_of
from tiny import tiny_store

from episodes.store.slices import normalisation
from fewshot.commands.main import main
from protocols.training.method_config import build_method_config
from protocols.training.pretraining import ensure_backbone
from protocols.training.spec_file import backbone_key, read_backbone_spec, write_spec
from protocols.training.stages import plan_training
from results.records.files import read_record

NUMBERS = {
    "densecl_epochs": 2, "densecl_batch": 8, "densecl_queue": 16, "densecl_size": 32,
    "densecl_learning_rate": 0.01, "densecl_key_momentum": 0.9,
}  # fmt: skip
SMALL = [word for name, value in NUMBERS.items() for word in ("--option", f"{name}={value}")]
ASK = ["--folds", "0", "--encoder", "resnet18", "--steps", "2", "--option", "stage3_steps=2"]


def made_in(work: Path) -> dict[Path, tuple[int, bytes]]:
    """Return when each file of a training was written, and its bytes."""
    files = [path for part in ("backbones", "models", "records") for path in (work / part).rglob("*")]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files if path.is_file()}


@pytest.mark.slow
def test_all_stages_on_phantoms_and_again_nothing(tmp_path: Path) -> None:
    from fewshot.commands.phantoms import ensure_phantoms

    ensure_phantoms(tmp_path, "phantom-mri", size=64, slices=12)
    command = [
        "run",
        "--work",
        str(tmp_path),
        "--dataset",
        "phantom-mri",
        "--method",
        "densemp",
        *ASK,
        *SMALL,
    ]
    assert main(command) == 0
    (path,) = (tmp_path / "backbones").glob("*/spec.json")
    spec = json.loads(path.read_text())
    recipe = {f"densecl_{name}": value for name, value in spec["recipe"].items()}
    assert {name: recipe[name] for name in NUMBERS} == NUMBERS
    assert (spec["encoder"], spec["processes"], spec["precision"]) == ("resnet18", 1, "float32")
    records = [read_record(path) for path in (tmp_path / "records").glob("*.json")]
    assert len(records) > 1 and {stage_of(r.model, "densecl").key for r in records} == {path.parent.name}
    for record in records:
        options = record.method.options
        assert {name: options[name] for name in NUMBERS} == NUMBERS
        assert stage_of(record.model, "densecl").images == spec["images"]["count"]
    before = made_in(tmp_path)
    assert main(command) == 0 and made_in(tmp_path) == before


@pytest.mark.slow
def test_a_backbone_of_other_processes_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = tiny_store(tmp_path / "stores" / "tiny", scans=4)
    scans = ("2", "3")
    method = build_method_config("densemp", {name: str(value) for name, value in NUMBERS.items()})
    recipe = plan_training(method).backbone_stage.recipe
    rules = normalisation(store, "per-scan", scans)

    def backbone(work: Path) -> Path:
        with caplog.at_level(logging.INFO, logger="fewshot"):
            return ensure_backbone(recipe, "resnet18", store, scans, rules, work, torch.device("cpu"), 0)

    first = backbone(tmp_path)
    assert backbone(tmp_path) == first and "trained anew" not in caplog.text
    (tmp_path / "elsewhere" / "backbones").mkdir(parents=True)
    spec = read_backbone_spec(first.parent) | {"processes": 2}
    other = shutil.move(first.parent, tmp_path / "elsewhere" / "backbones" / backbone_key(spec))
    write_spec(other, spec)
    again = backbone(tmp_path / "elsewhere")
    assert again.parent.name == first.parent.name and again.read_bytes() == (other / first.name).read_bytes()
    said = (
        f"trained anew, though {other / 'backbone.pt'} has the same numbers and images (2 processes, float32)"
    )
    assert caplog.text.count(said) == 1 and "--weights FILE" in caplog.text
    caplog.clear()
    backbone(tmp_path / "elsewhere")  # the one asked for is there now
    assert "trained anew" not in caplog.text
