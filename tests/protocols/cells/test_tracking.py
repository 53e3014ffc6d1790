"""Databases for Sacred's runs: entries where a server answers, a warning where none does."""

from __future__ import annotations

import json
import socket
import sqlite3
from pathlib import Path

import mongomock.gridfs
import pytest

from fewshot.commands.main import main
from protocols.cells.sacred_run import record_run
from protocols.cells.tracking import check_observers, without_password

RUN = ["--dataset", "tiny", "--folds", "0", "--method", "copy-support"]


def closed_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def test_a_run_has_an_entry_in_sql(work: Path) -> None:
    database = work / "runs.db"
    assert main(["run", "--work", str(work), *RUN, "--observer", f"sqlite:///{database}"]) == 0
    with sqlite3.connect(database) as opened:
        rows = opened.execute("select status, result, config from run").fetchall()
    assert len(rows) == 2 and {status for status, *_rest in rows} == {"COMPLETED"}
    assert {json.loads(config)["cell"]["method"]["name"] for *_rest, config in rows} == {"copy-support"}
    assert len([path for path in (work / "runs").iterdir() if path.name.isdecimal()]) == 2  # files too


def test_an_entry_in_mongodb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A MongoDB in memory stands for the server."""
    import pymongo

    mongomock.gridfs.enable_gridfs_integration()
    client = mongomock.MongoClient()
    monkeypatch.setattr(pymongo, "MongoClient", lambda *_url, **_options: client)
    artefact = tmp_path / "record.json"
    artefact.write_text("{}")
    url = "mongodb://user:secret@host/lab"
    for number in (1, 2):
        run = record_run(tmp_path / "runs", {"fold": number}, 0.5, None, [artefact], [url])
        assert run == str(number)
    entries = list(client["lab"]["runs"].find())
    assert [entry["config"]["cell"]["fold"] for entry in entries] == [1, 2]
    assert {entry["status"] for entry in entries} == {"COMPLETED"}


@pytest.mark.parametrize("scheme", ["mongodb", "sqlite"])
def test_a_server_that_is_down_costs_a_warning(
    scheme: str, work: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocols.cells.tracking.WAIT", 200)
    nowhere = {"mongodb": f"user:secret@127.0.0.1:{closed_port()}", "sqlite": "/no/such/folder"}
    url = f"{scheme}://{nowhere[scheme]}/runs"
    monkeypatch.setenv("FEWSHOT_OBSERVERS", url)
    assert main(["run", "--work", str(work), *RUN]) == 0
    assert len(list((work / "records").glob("*.json"))) == 2
    warnings = [entry.getMessage() for entry in caplog.records if entry.levelname == "WARNING"]
    warnings = [text for text in warnings if text.startswith("no entry in")]
    assert len(warnings) == 2 and all(f"no entry in {scheme}://" in text for text in warnings)
    assert not any("secret" in text for text in warnings)
    for log in (work / "logs").glob("*.json"):
        assert (work / "runs" / json.loads(log.read_text())["sacred_run"]).is_dir()


def test_observers_are_no_part_of_a_cell(work: Path) -> None:
    assert main(["run", "--work", str(work), *RUN]) == 0
    before = {path.name: path.read_bytes() for path in (work / "records").glob("*.json")}
    again = ["run", "--work", str(work), *RUN, "--overwrite", "--observer", f"sqlite:///{work / 'runs.db'}"]
    assert main(again) == 0
    assert {path.name: path.read_bytes() for path in (work / "records").glob("*.json")} == before


@pytest.mark.parametrize("url", ["runs.db", "sqlite:", "://host"])
def test_a_text_that_is_no_url_is_one_line(url: str, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--work", str(work), *RUN, "--observer", url]) == 2
    assert "expected a URL" in capsys.readouterr().err and not (work / "records").exists()


@pytest.mark.parametrize("url", ["postgresql+nothing://host/runs", "nothing://host/runs"])
def test_an_unknown_database_is_one_line(url: str, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--work", str(work), *RUN, "--observer", url]) == 2
    error = capsys.readouterr().err
    assert "name a database that SQLAlchemy knows" in error and error.count("\n") == 1


def test_passwords_are_not_shown() -> None:
    assert without_password("postgresql://me:word@host:5/db?x=1") == "postgresql://host:5/db"
    assert check_observers(["sqlite:///a.db"]) == ("sqlite:///a.db",)
