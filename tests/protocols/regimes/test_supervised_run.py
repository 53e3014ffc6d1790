"""A supervised method through `fewshot run`: labels, checks, keys, resume, and what refuses to mix."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import tiny_store

from fewshot.commands.main import main
from fewshot.identity.regimes import check_one_regime, regime_block
from protocols.rules.audits import LABELS
from results.records.files import read_record, read_records
from results.records.record import Record

TINY = ["--encoder", "resnet18-w8", "--steps", "3", "--folds", "0", "--groups", "upper"]
SMALL = ["--option", "side=32", "--option", "width=0.02", "--option", "opening=0"]


def run(work: Path, *more: str) -> int:
    return main(["run", "--work", str(work), "--dataset", "tiny", "--method", "tmunet", *TINY, *SMALL, *more])


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("supervised")
    tiny_store(work / "stores" / "tiny")
    assert run(work) == 0
    for method in ("copy-support", "all-foreground"):
        extra = ["--method", method, "--folds", "0", "--groups", "upper"]
        assert main(["run", "--work", str(work), "--dataset", "tiny", *extra]) == 0
    return work


@pytest.fixture
def record(done: Path) -> Record:
    (found,) = [one for one in read_records(done / "records") if one.method.name == "tmunet"]
    return found


def test_a_record_says_what_the_method_saw(record: Record) -> None:
    assert record.method.regime == "supervised" and record.method.labels_used == "target"
    assert record.method.needs is not None and "labels of the tested classes" in record.method.needs[0]
    assert record.model.labels is not None and record.model.labels.classes == ("liver", "spleen")
    assert LABELS in record.checks
    assert not {score.scan for score in record.scores} & set(record.training.scans)


def test_training_reads_training_scans_alone(done: Path, record: Record) -> None:
    log = (done / "models" / str(record.model.key) / "episodes.jsonl").read_text(encoding="utf-8")
    read = {
        part.lstrip("~").split(":")[0]
        for line in log.splitlines()
        for part in line.split("labelled:")[1].split('"')[0].split(",")
    }
    assert read and read <= set(record.training.scans)


def test_a_stopped_training_resumes_to_the_same_bytes(done: Path, record: Record, tmp_path: Path) -> None:
    tiny_store(tmp_path / "stores" / "tiny")
    key = str(record.model.key)
    assert run(tmp_path, "--checkpoint-every", "1", "--train-only", "episodes") == 0
    state = torch.load(tmp_path / "models" / key / "last.pt", weights_only=True)["model"]
    first = torch.load(done / "models" / key / "last.pt", weights_only=True)["model"]
    assert all(torch.equal(value, first[name]) for name, value in state.items())


def test_setting_2_is_refused(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(done, "--setting", "2") == 2
    assert "use --setting 1" in capsys.readouterr().err


def test_another_training_dataset_is_refused(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(done, "--train-dataset", "tiny") == 2
    assert "tmunet" in capsys.readouterr().err


def test_boards_hold_regimes_apart(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", "--work", str(done), "--dataset", "tiny", "--setting", "1"]) == 0
    text = capsys.readouterr().out
    few_shot, supervised = text.split("supervised methods, which see labels of the tested classes")
    assert "copy-support" in few_shot and "tmunet" not in few_shot.split("\n", 3)[3]
    assert "tmunet" in supervised


def test_regimes_do_not_mix() -> None:
    from fewshot.base.errors import UserError

    assert regime_block("in-context") == regime_block("self-supervised") == "few-shot"
    check_one_regime(["supervised", "yardstick"], "compare")
    with pytest.raises(UserError, match="few-shot and supervised"):
        check_one_regime([regime_block("in-context"), "supervised"], "compare")


def test_a_second_run_reads_the_record(done: Path, record: Record) -> None:
    before = sorted((done / "records").iterdir())
    assert run(done) == 0
    assert sorted((done / "records").iterdir()) == before
    assert read_record(next(path for path in before if str(record.key) in path.name)) == record
