"""The queue of commands on one machine runs every line and reports failed and stopped commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from places import ROOT

PREPARE = "prepare phantom-mri --size 48 --phantom-slices 8"
YARDSTICK = "run --dataset phantom-mri --method copy-support --folds 0"
LONG = (  # its checkpoint has 4 MB, which a busy disk takes within the seconds that a stopped command has
    "run --dataset phantom-mri --method tmunet --folds 0 --groups upper --encoder resnet18-w8 "
    "--option width=0.02 --option side=32 --option opening=0 --steps 9999999"
)


def queue(tmp_path: Path, lines: list[str], *options: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    (tmp_path / "queue.txt").write_text("# a comment\n\n" + "\n".join(lines) + "\n")
    command = [
        sys.executable, str(ROOT / "bench" / "campaign" / "run_queue.py"), str(tmp_path / "queue.txt"),
        "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"), *options,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return run, tmp_path / "out" / "queue.tar.xz"


@pytest.mark.slow  # a training that runs into the limit
def test_a_queue_runs_every_line_and_packs_what_it_wrote(tmp_path: Path) -> None:
    run, _file = queue(tmp_path, [PREPARE], "--workers", "1", "--seconds", "160")
    assert run.returncode == 0, run.stderr
    run, file = queue(tmp_path, [LONG, YARDSTICK, "run --method nosuch"], "--workers", "3", "--seconds", "90")
    assert run.returncode == 1
    assert "failed: fewshot run --method nosuch" in run.stdout and "1 of 3 commands succeeded" in run.stdout
    with tarfile.open(file) as archive:
        names = archive.getnames()
        state = json.loads(archive.extractfile("queue.json").read())  # type: ignore[union-attr]
    assert [one["status"] for one in state] == [None, 0, 2]
    assert sum(name.startswith("records/") for name in names) == 2  # both groups of the yardstick
    assert any(name.endswith("losses.csv") for name in names)
    assert not any(name.endswith((".pt", ".npy")) for name in names)
    saved = list((tmp_path / "work" / "models").glob("*/last.pt"))
    assert len(saved) == 1  # the stopped training can continue


def test_a_queue_stops_where_every_command_fails(tmp_path: Path) -> None:
    run, file = queue(tmp_path, ["run --method nosuch"] * 9, "--workers", "2", "--seconds", "300")
    assert run.returncode == 1 and "every command failed so far" in run.stdout
    with tarfile.open(file) as archive:
        state = json.loads(archive.extractfile("queue.json").read())  # type: ignore[union-attr]
    assert len([one for one in state if one["status"] is not None]) < 9
