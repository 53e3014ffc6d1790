"""`fewshot run` as a lab uses it: killed and started again, and twice at once on one work folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import HELPERS, ROOT
from processes import results
from tiny import tiny_store

pytestmark = pytest.mark.slow

STEPS = "120"
COMMAND = [
    "run", "--dataset", "tiny", "--folds", "0,1", "--setting", "2", "--method", "ssl-alpnet",
    "--encoder", "resnet18", "--weights", "random", "--steps", STEPS, "--checkpoint-every", "7",
]  # fmt: skip


def start(work: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [
        sys.executable,
        str(HELPERS / "narrow_networks.py"),
        COMMAND[0],
        "--work",
        str(work),
        *COMMAND[1:],
    ]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    assert process.wait(timeout=600) == 0


def test_killed_again_and_again_it_ends_in_the_same_bytes(tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        tiny_store(tmp_path / name / "stores" / "tiny")
    finish(start(tmp_path / "whole"))
    wanted = results(tmp_path / "whole")
    assert len([name for name in wanted if name.startswith("records/")]) == 4
    kills = 0
    for lines in (9, 23, 12):
        process = start(tmp_path / "killed")
        before = {path: path.stat().st_size for path in (tmp_path / "killed" / "models").glob("*/losses.csv")}
        while process.poll() is None:
            grown = [
                path
                for path in (tmp_path / "killed" / "models").glob("*/losses.csv")
                if path.stat().st_size > before.get(path, 0) and path.read_bytes().count(b"\n") > lines
            ]
            if grown:
                os.killpg(process.pid, signal.SIGKILL)
                kills += process.wait() == -signal.SIGKILL
            time.sleep(0.02)
    assert kills == 3
    finish(start(tmp_path / "killed"))
    assert results(tmp_path / "killed") == wanted


def test_two_at_once_train_each_model_once_and_agree(tmp_path: Path) -> None:
    work = tmp_path / "work"
    tiny_store(work / "stores" / "tiny")
    first, second = start(work), start(work)
    finish(first)
    finish(second)
    logs = list((work / "models").glob("*/losses.csv"))
    assert len(logs) == 4
    for losses in logs:
        steps = [line.split(",")[0] for line in losses.read_text().splitlines()[1:]]
        assert steps == [str(step) for step in range(1, int(STEPS) + 1)]
    assert len(list((work / "records").glob("*.json"))) == 4
    assert len(list((work / "models").iterdir())) == 4
