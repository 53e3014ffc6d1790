"""`--weights` with a file for every fold: each fold begins from its own, and the folds stand in one table."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from made_backbones import backbone_file, slices_of
from pipeline_runs import new_work, records
from tiny import tiny_store

from episodes.store.store import Store
from fewshot.commands.main import main
from fewshot.files.atomic_io import sha256_of
from fewshot.files.seals import hash_file
from protocols.rules.audits import BACKBONE
from results.records.record_parts import WeightsPart
from results.summary.configuration_result import configuration_results

ASK = ["--dataset", "tiny", "--folds", "0,3", "--groups", "upper", "--encoder", "resnet18", "--steps", "1"]
PATTERN = "saw_{fold}.pth"
QUERIES = {0: "01", 3: "67"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with a backbone for folds 0 and 3 that saw what the fold does not ask."""
    folder = tmp_path_factory.mktemp("folds")
    work = new_work(folder, tiny_store(folder / "tiny").path)
    store = Store.open(work / "stores" / "tiny")
    for fold, asked in QUERIES.items():
        seen = slices_of(store, tuple(scan for scan in store.index.scans if scan not in asked))
        backbone_file(work / PATTERN.format(fold=fold), seen, seed=fold)
    return work


@pytest.fixture
def work(prepared: Path, tmp_path: Path) -> Path:
    return shutil.copytree(prepared, tmp_path / "work")


def run(work: Path, weights: str, *more: str, method: str = "ssl-alpnet") -> int:
    return main(
        ["run", "--work", str(work), *ASK, "--method", method, "--weights", str(work / weights), *more]
    )


MORE = {"ssl-alpnet": [], "densemp": ["--option", "stage3_steps=1"]}


@pytest.mark.parametrize("method", ["ssl-alpnet", pytest.param("densemp", marks=pytest.mark.slow)])
def test_every_fold_begins_from_its_file_and_all_stand_in_one_table(method: str, work: Path) -> None:
    assert run(work, PATTERN, *MORE[method], method=method) == 0
    found = records(work)
    (block,) = configuration_results(found)
    assert sorted(block.cells) == [(0, "upper"), (3, "upper")]
    for record in found:
        assert record.model.initial_weights == WeightsPart(PATTERN, None)
        assert BACKBONE in record.checks
        spec = json.loads((work / "models" / record.model.key / "spec.json").read_text())
        file = work / PATTERN.format(fold=record.fold)
        assert spec["initial_weights"] == {"name": file.name, "sha256": sha256_of(file)}
    kept = {path: path.read_bytes() for path in (work / "records").iterdir()}
    for record in found:
        assert main(["evaluate", "--work", str(work), record.model.key, "--overwrite"]) == 0
    assert kept == {path: path.read_bytes() for path in kept}


def test_a_fold_has_the_model_of_its_file_alone(work: Path) -> None:
    assert run(work, PATTERN) == 0
    before = sorted((work / "models").iterdir())
    assert run(work, PATTERN.format(fold=3), "--folds", "3") == 0
    assert len(before) == 2 and sorted((work / "models").iterdir()) == before
    assert run(work, PATTERN, "--option", "stage3_steps=1", "--stages", "1,2", method="densemp") == 0
    assert sorted((work / "models").iterdir()) == before
    staged = [record for record in records(work) if record.method.name == "densemp"]
    (block,) = configuration_results(staged)
    assert block.record.model.initial_weights == WeightsPart(PATTERN, None)


@pytest.mark.parametrize("method", MORE)
def test_what_a_later_fold_lacks_shows_before_the_first_is_trained(
    method: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = work / PATTERN.format(fold=3)
    first = work / PATTERN.format(fold=0)  # it saw what fold 3 asks
    for source, target in ((first, last), (hash_file(first), hash_file(last))):
        shutil.copy(source, target)
    assert run(work, PATTERN, *MORE[method], method=method) == 2
    message = capsys.readouterr().err
    assert "saw slice 0 of scan 6, which is a query of fold 3 of tiny" in message and message.count("\n") == 1
    last.unlink()
    assert run(work, PATTERN, *MORE[method], method=method) == 2
    message = capsys.readouterr().err
    assert "saw_3.pth' is no file" in message and message.count("\n") == 1
    assert not (work / "models").exists()
