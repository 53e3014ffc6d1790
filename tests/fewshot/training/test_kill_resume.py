"""A training that is killed outright and started again ends in the same weights and the same logs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from killable_training import STEPS
from places import HELPERS

PROGRAM = HELPERS / "killable_training.py"


def start(folder: Path, seconds_a_step: float = 0.0) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(PROGRAM), str(folder), str(seconds_a_step)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def step_of(checkpoint: Path) -> int:
    return int(torch.load(checkpoint, weights_only=True)["step"]) if checkpoint.exists() else 0


def kill_between_checkpoints(folder: Path) -> None:
    """Train, and kill the process some steps after it has written a checkpoint."""
    begun = step_of(folder / "last.pt")
    process = start(folder, 0.1)
    deadline = time.monotonic() + 60
    while step_of(folder / "last.pt") == begun:
        assert process.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline, "no checkpoint within a minute"
        time.sleep(0.01)
    time.sleep(0.35)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_killed_twice_equals_never_killed(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait(timeout=120) == 0
    kill_between_checkpoints(killed)
    kill_between_checkpoints(killed)
    assert 0 < step_of(killed / "last.pt") < STEPS
    assert start(killed).wait(timeout=120) == 0
    expected, found = (torch.load(folder / "last.pt", weights_only=True) for folder in (whole, killed))
    assert found["step"] == STEPS and found["skipped"] == expected["skipped"] > 0
    for name, value in expected["model"].items():
        assert torch.equal(found["model"][name], value), name
    names = {path.name for path in whole.iterdir()}
    checkpoints = {"last.pt", "step_15.pt", "step_30.pt"}
    assert names == {"losses.csv", "episodes.jsonl", *checkpoints, *(f"{one}.sha256" for one in checkpoints)}
    for name in names:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    assert len((whole / "losses.csv").read_text().splitlines()) == STEPS + 1
