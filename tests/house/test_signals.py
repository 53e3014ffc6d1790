"""SIGTERM ends a command as SIGINT does: one line, processes ended, work kept, a status of its own."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from places import ROOT
from small_commands import COMMANDS, MODEL, contents, left_over, renew
from warm_commands import start_command, status_of

from fewshot.base.signals import Terminated, sigterm_as_exception
from fewshot.commands import main as program

LINE = "fewshot: stopped; the same command continues from the last checkpoint\n"
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}


def stop_by(monkeypatch: pytest.MonkeyPatch, number: int) -> int:
    """Return the status of a command that sends itself a signal."""

    def send(_words: list[str]) -> int:
        os.kill(os.getpid(), number)
        time.sleep(5)
        return 0

    monkeypatch.setattr(program, "_dispatch", send)
    return program.main(["run"])


@pytest.mark.parametrize("number", STATUS)
def test_a_stopped_command_prints_one_line_and_has_its_own_status(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stop_by(monkeypatch, number) == STATUS[signal.Signals(number)]
    assert capsys.readouterr() == ("", LINE)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("variable", ["FEWSHOT_HELPER", "RANK"])
def test_a_process_that_another_one_started_ends_in_silence(
    variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, "1")
    assert stop_by(monkeypatch, signal.SIGTERM) == 143
    assert capsys.readouterr() == ("", "")


def test_a_handler_of_the_program_around_stays() -> None:
    caught: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: caught.append(number))
    try:
        with sigterm_as_exception():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught == [signal.SIGTERM]
    with pytest.raises(Terminated), sigterm_as_exception():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)


def wait_for(log: Path, text: str, process: BaseProcess) -> None:
    deadline = time.monotonic() + 120
    while text not in (log.read_text() if log.exists() else ""):
        assert process.is_alive() and time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("number", STATUS)
def test_a_stopped_training_keeps_its_work(
    number: int, bases: Callable[[bool], Path], tmp_path: Path
) -> None:
    words, trial, log = COMMANDS["run"].words(tmp_path), tmp_path / "trial", tmp_path / "log"
    renew(trial, bases(False))
    assert status_of(words, log, trial) == 0
    expected = contents(trial)
    draw, stops = random.Random(number), 0
    while stops < 4:
        renew(trial, bases(False))
        log.unlink()
        process = start_command(words, log, trial)
        wait_for(log, "fold 0", process)  # the bar of the training
        time.sleep(draw.uniform(0, 2))
        assert process.pid is not None
        with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
            os.kill(process.pid, number)
        process.join()
        if process.exitcode == 0:
            continue
        stops += 1
        assert process.exitcode == STATUS[signal.Signals(number)], log.read_text()
        assert log.read_text().count(LINE) == 1 and "Traceback" not in log.read_text()
        assert left_over(trial) == []  # it had the time to tidy up
        assert status_of(words, log, trial) == 0
        assert contents(trial) == expected


def children(pid: int) -> list[int]:
    """Return the processes whose parent is `pid`."""
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in found.stdout.split()]


@pytest.mark.slow
def test_the_processes_of_several_devices_end_too(bases: Callable[[bool], Path], tmp_path: Path) -> None:
    renew(tmp_path / "trial", bases(False))
    words = ["run", "--dataset", "tiny", "--method", "ssl-alpnet", *MODEL]
    process = subprocess.Popen(
        [sys.executable, "-m", "fewshot", *words, "--steps", "500", "--device", "cpu,cpu"],
        cwd=tmp_path / "trial", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    models, deadline = tmp_path / "trial" / "work" / "models", time.monotonic() + 300
    while len(list(models.glob("*/losses.csv"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    helpers = children(process.pid)
    assert len(helpers) == 2
    process.terminate()
    _printed, said = process.communicate(timeout=60)
    assert process.returncode == 143 and said.count("stopped") == 1 and "Traceback" not in said
    for helper in helpers:
        with pytest.raises(ProcessLookupError):
            os.kill(helper, 0)
