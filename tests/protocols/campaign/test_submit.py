"""Campaigns on submitit's local executor: the same records as by hand, dependencies, logs, status, arrays."""

from __future__ import annotations

import json
import pickle
import pickletools
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from places import HELPERS, ROOT
from processes import results
from test_jobs import jobs_of, write

from fewshot.base.errors import UserError
from fewshot.commands.cluster.submit import _minutes
from fewshot.commands.main import main
from fewshot.files.atomic_io import write_json
from protocols.campaign.arrays import ALL_ENDED, SAME_TASK, TASK, plan_arrays
from protocols.campaign.campaign_file import FILE
from protocols.campaign.engines import Command, LocalJob, Slot, fewshot_command, run_locally
from protocols.campaign.jobs import Job
from protocols.campaign.outcomes import outcome
from protocols.campaign.status import campaign_status

CAMPAIGN = """
dataset = "tiny"
folds = "0"
groups = "upper"
method = "ssl-alpnet"
encoder = "resnet18"
weights = "random"
steps = 2
protocol = ["alpnet-ep1", "open-ep"]
"""


def narrow_command(words: Sequence[str], environment: Mapping[str, str | None] | None = None) -> list[str]:
    """Return the engine's own words with the narrow networks of this process in place of `-m fewshot`."""
    command = fewshot_command(words, environment)
    place = command.index("-m")
    assert command[place:] == ["-m", "fewshot", *words]
    return [*command[:place], str(HELPERS / "narrow_networks.py"), *words]


def job(number: int, after: int | None = None, cells: int = 1) -> Job:
    return Job(number, f"job {number}", ("run",), after, (None,) * cells, 1.0, "reckoned")  # type: ignore[arg-type]


def test_a_campaign_on_this_machine_ends_in_the_records_of_its_lines(
    work: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("protocols.campaign.engines.fewshot_command", narrow_command)
    threads = torch.get_num_threads()
    alone = tmp_path / "alone"
    shutil.copytree(work, alone)
    file = write(work, CAMPAIGN)
    submit = ["submit", "--work", str(work), "--campaign", file, "--local", "2", "--device", "cpu"]
    assert main(submit) == 0
    shown = capfd.readouterr()
    assert "3 of 3 jobs done" in shown.out

    folder = work / "jobs" / "001"
    content = json.loads((folder / FILE).read_text())
    assert [entry["state"] for entry in content["jobs"]] == ["done"] * 3
    for entry in content["jobs"]:
        assert outcome(folder, entry["id"]) == 0
        assert (folder / f"{entry['id']}_0_log.err").is_file()
    status = campaign_status(work)
    assert sum(row["recorded"] for row in status.rows) == sum(row["cells"] for row in status.rows) == 2
    assert status.failures == [] and status.stages["recorded"] == 1

    torch.set_num_threads(1)
    try:
        for line in jobs_of(alone, "--campaign", file):
            assert main(list(line.command)) == 0
    finally:
        torch.set_num_threads(threads)
    assert results(alone) == results(work)
    capfd.readouterr()
    assert main(submit) == 0
    assert "every cell is recorded" in capfd.readouterr().out


def test_a_failed_stage_keeps_its_cells_from_starting(
    work: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands are the system's `false` and `true`: only the order and the outcomes are tested."""
    monkeypatch.setattr(
        "protocols.campaign.engines.fewshot_command", lambda words, _environment=None: [words[0]]
    )
    changes: list[tuple[int, str]] = []
    jobs = [LocalJob(("false",)), LocalJob(("true",), after=0), LocalJob(("true",)), LocalJob(("true",), 2)]
    ended = run_locally(
        jobs,
        [Slot((), {})],
        work / "jobs" / "001",
        lambda number, _id, state: changes.append((number, state)),
    )
    assert ended == [1, "skipped", 0, 0]
    assert changes == [
        (0, "running"), (0, "failed"), (1, "skipped"),
        (2, "running"), (2, "done"), (3, "running"), (3, "done"),
    ]  # fmt: skip


def test_only_words_are_handed_over() -> None:
    command = Command(fewshot_command(["run", "--dataset", "tiny"], {"A": "1", "B": None}))
    assert command.command[:4] == ["env", "-u", "B", "A=1"]
    content = pickle.dumps(command)
    names = [argument for code, argument, _place in pickletools.genops(content) if isinstance(argument, str)]
    assert "protocols.campaign.engines" in names and "Command" in names
    assert not any("code" in name.lower() or "lambda" in name for name in names)
    again = pickle.loads(content)
    assert (again.command, again.exits) == (command.command, True)


def test_a_job_that_waits_for_its_command_imports_no_torch() -> None:
    program = "import sys, protocols.campaign.engines\nprint('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert shown.stdout.strip() == "False", shown.stderr


def test_an_outcome_builds_no_object(tmp_path: Path) -> None:
    (tmp_path / "1_0_result.pkl").write_bytes(pickle.dumps(("success", Path("a"))))
    with pytest.raises(UserError, match="expected plain values"):
        outcome(tmp_path, "1")


def test_cells_wait_for_the_task_of_their_stage() -> None:
    """Three stages with two cells each: two arrays whose tasks wait for the task of the same number."""
    jobs = [job(n, cells=0) for n in range(3)] + [job(3 + n, n // 2) for n in range(6)] + [job(9)]
    arrays = plan_arrays(jobs, None)
    assert [[one.number for one in array.jobs] for array in arrays] == [[0, 1, 2, 9], [3, 5, 7], [4, 6, 8]]
    assert [(array.after, array.relation) for array in arrays] == [
        (None, None),
        (0, SAME_TASK),
        (0, SAME_TASK),
    ]


def test_many_cells_of_one_stage_are_one_array() -> None:
    jobs = [job(0, cells=0), *(job(n, after=0) for n in range(1, 8))]
    arrays = plan_arrays(jobs, None, largest=5)
    assert [len(array.jobs) for array in arrays] == [1, 5, 2]
    assert [(array.after, array.relation, array.task) for array in arrays[1:]] == [(0, TASK, 0)] * 2


def test_a_cap_lets_one_array_run_at_a_time() -> None:
    jobs = [job(0, cells=0), job(1, 0, cells=0), job(2, 1), job(3, 0), job(4)]
    arrays = plan_arrays(jobs, 2)
    assert [[one.number for one in array.jobs] for array in arrays] == [[0], [1], [2, 3, 4]]
    assert [(array.after, array.relation) for array in arrays] == [
        (None, None),
        (0, ALL_ENDED),
        (1, ALL_ENDED),
    ]


@pytest.mark.parametrize("cap", [None, 3])
@pytest.mark.parametrize("largest", [2, 1000])
def test_every_job_is_in_one_array_after_its_stage(cap: int | None, largest: int) -> None:
    """A forest of three levels with stages of 0, 1, 2 and 5 followers."""
    jobs = [job(n, cells=0) for n in range(4)]
    jobs += [job(4 + n, after, cells=0) for n, after in enumerate([1, 2, 2])]
    jobs += [job(7 + n, after) for n, after in enumerate([3, 3, 3, 3, 3, 4, 5, 5, 6, None])]
    arrays = plan_arrays(jobs, cap, largest)
    place = {
        one.number: (number, task)
        for number, array in enumerate(arrays)
        for task, one in enumerate(array.jobs)
    }
    assert sorted(place) == list(range(len(jobs))) and sum(len(array.jobs) for array in arrays) == len(jobs)
    for one in jobs:
        array, task = arrays[place[one.number][0]], place[one.number][1]
        assert len(array.jobs) <= largest and (array.after is None or array.after < place[one.number][0])
        if one.after is not None and cap is None:
            waits_for = task if array.relation == SAME_TASK else array.task
            assert (array.after, waits_for) == place[one.after]
        if one.after is not None and cap is not None:
            assert place[one.after][0] < place[one.number][0]


@pytest.mark.parametrize(
    ("text", "minutes"), [("4:00:00", 240), ("1-00:00:30", 1441), ("90", 90), ("0:00:20", 1)]
)
def test_limits_of_time(text: str, minutes: int) -> None:
    assert _minutes(text) == minutes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--time", "soon"], "--time 'soon': expected D-HH:MM:SS"),
        (["--gpus", "-1"], "--gpus -1: expected 0 or more"),
        (["--sbatch", "account"], "--sbatch 'account': expected name=value"),
        (["--local", "0"], "--local 0: expected 1 or more"),
        (["--local", "1", "--device", "cpu,gpu"], "--device 'gpu'"),
    ],
)
def test_wrong_options_are_one_line(
    words: list[str], said: str, work: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("protocols.campaign.engines.shutil.which", lambda name: name)  # as with Slurm
    submit = ["submit", "--work", str(work), "--dataset", "tiny", "--method", "copy-support"]
    assert main([*submit, *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (work / "jobs").exists()


def test_without_slurm_the_message_says_what_to_do(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocols.campaign.engines.shutil.which", lambda _name: None)
    words = ["submit", "--work", str(work), "--dataset", "tiny", "--method", "copy-support", "--folds", "0"]
    assert main(words) == 2
    assert "no sbatch and srun on this machine" in capsys.readouterr().err
    assert not (work / "jobs").exists()


def test_the_status_of_ten_thousand_records_takes_two_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seconds of the processor, because other tests run beside this one."""
    cells, jobs = [], []
    for number in range(10_000):
        key = f"{number:016x}"
        cells.append(["panet", "tiny", "alpnet-ep1", 1, number, 0, "upper", key, number])
        jobs.append({"label": f"job {number}", "line": "fewshot", "after": None, "id": None, "state": None})
    (tmp_path / "jobs" / "001").mkdir(parents=True)
    write_json(tmp_path / "jobs" / "001" / FILE, {"engine": "slurm", "cells": cells, "jobs": jobs})
    (tmp_path / "records").mkdir()
    for number in range(9_999):
        (tmp_path / "records" / f"{number:016x}.json").touch()
    started = time.process_time()
    assert main(["status", "--work", str(tmp_path)]) == 0
    assert time.process_time() - started < 2.0
    assert "9999" in capsys.readouterr().out


def test_the_status_names_the_log_of_a_failure(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["submit", "--work", str(work), "--dataset", "tiny", "--method", "copy-support", "--folds", "0"]
    (work / "records").write_text("a file where a folder belongs")
    assert main([*words, "--local", "1", "--device", "cpu"]) == 1
    shown = capfd.readouterr()
    assert "0 of 1 jobs done" in shown.out
    assert main(["status", "--work", str(work)]) == 0
    status = capfd.readouterr().out
    assert "failed in 001: copy-support, tiny, alpnet-ep1, setting 1, seed 0, fold 0" in status
    log = Path(status.rsplit(": ", 1)[1].strip())
    assert "fewshot: error" in log.read_text()


def test_no_campaign_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--work", str(tmp_path)]) == 2
    assert "no campaign was submitted" in capsys.readouterr().err
