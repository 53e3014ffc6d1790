"""`--device` as users type it, and one run shared out over several devices."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
import torch

from fewshot.commands.main import main
from fewshot.files.locks import if_free, locked
from results.records.files import read_record

ASK = ["--dataset", "tiny", "--folds", "0,1", "--setting", "2"]
METHOD = """
import os
from fewshot import UserError
from baselines.yardsticks import CopySupport

class Moody(CopySupport):
    def __init__(self, options=None):
        super().__init__(options)
        if os.environ.get("FEWSHOT_PROGRESS_ROW") == "1":
            raise UserError("not in this row")
"""


def run(work: Path, *more: str) -> int:
    return main(["run", "--work", str(work), *ASK, "--method", "copy-support", *more])


def cells(work: Path) -> list[tuple[int, str]]:
    records = [read_record(path) for path in (work / "records").glob("*.json")]
    return sorted((record.fold, record.group) for record in records)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--device", "gpu"], "--device 'gpu': expected auto, cpu, cuda, or one of several as cuda:1"),
        (["--device", "cuda:x"], "--device 'cuda:x': expected"),
        (["--device", "cpu:1"], "--device 'cpu:1': expected"),
        (["--device", "cpu,"], "--device '': expected"),
        (
            ["--device", "cpu,cpu", "--overwrite"],
            "--overwrite with several devices: each would do every cell again",
        ),
        (["--device", "cuda:99"], "--device cuda:99: "),
    ],
)
def test_devices_that_are_none(
    more: list[str], said: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(work, *more) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (work / "records").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(work, "--device", "cpu,cuda:0") == 2
    assert "--device cuda:0: torch finds no GPU here; use --device cpu" in capsys.readouterr().err


def test_a_command_that_is_done_on_one_device_says_so(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = ["--method", "panet", "--checkpoint", "a.pt", "--device", "cpu,cpu"]
    assert main(["evaluate", "--work", str(work), *ASK, *checkpoint]) == 2
    assert "--device 'cpu,cpu': expected auto, cpu, cuda, or one of several" in capsys.readouterr().err


def test_a_cell_that_another_is_at_is_left_for_the_end(work: Path) -> None:
    assert run(work, "--folds", "0") == 0
    (work / "records").rename(work.parent / "kept")
    (lock,) = (work / "locks").glob("cells-*")  # both groups of fold 0: a yardstick trains for none
    worker = threading.Thread(target=run, args=(work,))
    with locked(lock), if_free(lock) as ours:
        assert not ours
        worker.start()
        started = time.monotonic()
        while len(cells(work)) < 2:
            assert time.monotonic() - started < 60
            time.sleep(0.05)
        worker.join(0.5)
        assert worker.is_alive() and cells(work) == [(1, "lower"), (1, "upper")]
    worker.join(60)
    assert cells(work) == [(0, "lower"), (0, "upper"), (1, "lower"), (1, "upper")]
    before = list((work.parent / "kept").glob("*.json"))
    assert len(before) == 2
    for path in before:
        assert read_record(path).scores == read_record(work / "records" / path.name).scores


def test_two_processes_do_one_run(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(work, "--device", "cpu,cpu", "--folds", "all") == 0
    assert len(cells(work)) == 10
    shown = capfd.readouterr()
    assert shown.out.count("copy-support") == 1  # one table, the parent's
    for fold in range(5):  # asked once, by one of them
        assert shown.err.count(f"fold {fold} evaluation:   0%") == 1


def test_a_process_that_fails_is_told_and_the_others_end(
    work: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "moody.py").write_text(METHOD)
    command = ["run", "--work", str(work), *ASK, "--method", f"{tmp_path / 'moody.py'}:Moody"]
    assert main([*command, "--device", "cpu,cpu"]) == 2
    error = capfd.readouterr().err
    assert "fewshot: error: not in this row" in error
    assert "1 of 2 processes failed with the errors above: cpu (status 2); finished cells are kept" in error
    assert len(cells(work)) == 4  # the other process took what the first left
    assert "FEWSHOT_PROGRESS_ROW" not in os.environ
    assert main(command) == 0
