"""Two checkpoint files of one method in one work folder: told apart by --name, refused without."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import pytest
import torch
from making import record, score
from tiny import tiny_store

from baselines.ssl_alpnet import SSLALPNet
from fewshot.base.errors import UserError
from fewshot.commands.main import main
from fewshot.encoders.encoder import build_encoder
from results.leaderboard.board import leaderboard
from results.leaderboard.report import commands
from results.records.files import read_records
from results.records.record import Record
from results.summary.configuration_result import configuration_results
from results.summary.screening import screen_records

CELL = ["--dataset", "tiny", "--setting", "1", "--folds", "0", "--groups", "upper", "--encoder", "resnet18"]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with two checkpoint files of SSL-ALPNet, the first of them evaluated without a name."""
    work = tmp_path_factory.mktemp("names") / "work"
    tiny_store(work / "stores" / "tiny")
    for seed, name in ((5, "a"), (6, "b")):
        torch.save(SSLALPNet(build_encoder("resnet18", seed)).state_dict(), work / f"{name}.pth")
    assert evaluate(work, "a") == 0
    return work


@pytest.fixture
def work(first: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(first, tmp_path / "work")
    return tmp_path / "work"


def evaluate(work: Path, file: str, *more: str) -> int:
    return main(["evaluate", "--work", str(work), *CELL, "--checkpoint", str(work / f"{file}.pth"), *more])


def names(work: Path) -> list[str | None]:
    return sorted((one.model.name for one in read_records(work / "records")), key=str)


def test_a_second_file_without_a_name_is_refused_before_it_is_evaluated(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(work, "b") == 2
    message = capsys.readouterr().err
    assert "fold 0, group upper of another checkpoint file of ssl-alpnet" in message
    assert "give --name NAME" in message and message.count("\n") == 1
    assert names(work) == [None]
    assert evaluate(work, "a") == 0 and evaluate(work, "a", "--overwrite") == 0  # the same file is no other
    assert names(work) == [None]


def test_names_keep_two_files_apart_in_records_tables_and_boards(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(work, "b", "--name", "late.v2") == 0
    assert "external weights late.v2" in capsys.readouterr().out
    assert names(work) == [None, "late.v2"]
    found = read_records(work / "records")
    assert len(configuration_results(found)) == 2 and not screen_records([work / "records"]).faults
    assert main(["table", "--work", str(work)]) == 0
    assert "ssl-alpnet (resnet18, external weights late.v2, seed 0, external)" in capsys.readouterr().out
    assert main(["table", "--work", str(work), "--format", "csv"]) == 0
    rows = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert {row["weights"] for row in rows} == {"external", "external late.v2"}
    assert main(["leaderboard", "--work", str(work), "--dataset", "tiny", "--setting", "1"]) == 0
    board = capsys.readouterr().out
    assert "external weights late.v2" in board and "contradict" not in board
    # a name belongs to one file
    assert evaluate(work, "a", "--name", "late.v2") == 2
    message = capsys.readouterr().err
    assert "the name 'late.v2' can hold one; give another --name" in message
    assert evaluate(work, "a", "--name", "early") == 0
    assert names(work) == [None, "early", "late.v2"]


def test_run_points_to_evaluate(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "--work", str(work), *CELL, "--method", "ssl-alpnet"]
    assert main([*command, "--checkpoint", str(work / "b.pth"), "--name", "b"]) == 2
    assert "evaluate checkpoint files with: fewshot evaluate --checkpoint PATTERN" in capsys.readouterr().err
    assert names(work) == [None]


MISTAKES = {
    "not a usable name": ["--checkpoint", "a.pth", "--name", "no/slash"],
    "--name '' is not a usable name": ["--checkpoint", "a.pth", "--name", ""],
    "leave --name out": ["0123", "--name", "x"],
}


@pytest.mark.parametrize("said", MISTAKES)
def test_a_mistake_is_one_line(
    said: str, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(work)
    (work / "models" / "0123").mkdir(parents=True)
    (work / "models" / "0123" / "spec.json").write_text("{}")
    assert main(["evaluate", "--work", str(work), *CELL, *MISTAKES[said]]) == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1


def test_a_training_has_no_name(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--work", str(work), *CELL, "--method", "ssl-alpnet", "--name", "x"]) == 2
    assert "unrecognized arguments: --name x; see fewshot run --help" in capsys.readouterr().err


def external(key: str, **more: str) -> list[Record]:
    model = {"key": f"external-{key * 16}", "checkpoint": "external", "steps": None, **more}
    model["initial_weights"] = {"name": "external", "sha256": key * 64}  # type: ignore[assignment]
    percent = 30 if key == "a" else 40
    return [record(0, "lower", [score("left-kidney", "3", percent)], model=model)]


def test_records_of_two_files_without_a_name_are_refused_with_the_remedy(tmp_path: Path) -> None:
    """A folder that holds both already, such as one made of two work folders."""
    with pytest.raises(UserError, match="again with --name NAME"):
        configuration_results(external("a") + external("b"))
    assert len(configuration_results(external("a") + external("b", name="b"))) == 2
    assert len(configuration_results(external("a", name="a") + external("b", name="b"))) == 2


def test_a_report_names_the_checkpoint_in_its_command() -> None:
    (line,) = [
        text for text in commands(leaderboard(external("a", name="x"), "tiny", 2)).lines if "evaluate" in text
    ]
    assert line.startswith("fewshot evaluate --dataset tiny") and "--checkpoint PATTERN --name x" in line
    assert "--seed" not in line and "--steps" not in line
