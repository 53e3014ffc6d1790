"""Missing work as command lines: keys known in advance, shared stages first, costs, thousands of cells."""

from __future__ import annotations

import json
import resource
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

from fewshot.commands import campaign
from fewshot.commands.main import main
from fewshot.commands.parsers import command_parser
from protocols.campaign.costs import MEASURED, RECKONED, Costs
from protocols.campaign.jobs import Job, list_jobs
from protocols.campaign.units import Unit, plan_units
from results.records.files import recorded_keys

MODEL = ["--encoder", "resnet18", "--weights", "random", "--steps", "2", "--folds", "0"]
DENSEMP = """
dataset = "tiny"
folds = "0"
encoder = "resnet18"
steps = 1
setting = [1, 2]
method = "densemp"
option = ["densecl_batch=16", "densecl_queue=16", "densecl_epochs=1", "densecl_size=32", "stage3_steps=1"]
"""
MANY = """
dataset = "tiny"
setting = [1, 2]
encoder = "resnet18"
weights = "random"
steps = 20
method = ["ssl-alpnet", "adnet", "panet", "qnet", "dspnet"]
protocol = ["alpnet-ep1", "adnet-ep1"]
"""


def units_of(work: Path, *words: str) -> list[Unit]:
    args = command_parser("jobs").parse_args([*words, "--work", str(work)])
    return plan_units(campaign.campaign_runs(args))


def jobs_of(work: Path, *words: str) -> list[Job]:
    return list_jobs(units_of(work, *words), Costs(work, "cpu"))


def write(work: Path, text: str) -> str:
    file = work.parent / "campaign.toml"
    file.write_text(text)
    return str(file)


def keys(units: list[Unit]) -> set[str | None]:
    return {cell.key for unit in units for cell in (*unit.recorded, *unit.missing)}


@pytest.mark.parametrize(
    "words",
    [
        ["--method", "copy-support,all-foreground", "--setting", "1,2", "--folds", "0,1"],
        ["--method", "ssl-alpnet", "--protocol", "alpnet-ep1,open-ep", "--setting", "2", *MODEL],
        ["--method", "ssl-alpnet", "--seeds", "0,3", "--shots", "2", *MODEL],
        [
            "--method",
            "ssl-alpnet",
            "--checkpoint-policy",
            "validation",
            "--option",
            "snapshot_every=1",
            *MODEL,
        ],
    ],
)
def test_keys_are_those_of_the_records_and_nothing_is_left(words: list[str], work: Path) -> None:
    campaign_words = ["--dataset", "tiny", *words]
    before = units_of(work, *campaign_words)
    jobs = list_jobs(before, Costs(work, "cpu"))
    assert not any(unit.recorded for unit in before) and None not in keys(before)
    for job in jobs:
        assert main(list(job.command)) == 0
        if not job.cells:
            assert not (work / "records").exists()  # stages come first
    recorded = recorded_keys(work / "records")
    assert recorded == keys(before)
    after = units_of(work, *campaign_words)
    assert list_jobs(after, Costs(work, "cpu")) == []
    assert {cell for unit in after for cell in unit.recorded} == {
        cell for unit in before for cell in unit.missing
    }


def test_a_training_in_stages_is_listed_by_what_is_shared(work: Path) -> None:
    """Both settings share the backbone of a fold, both groups of setting 1 also the next stage."""
    file = write(work, DENSEMP)
    jobs = jobs_of(work, "--campaign", file)
    stages = [job for job in jobs if not job.cells]
    assert [job.command[-1] for job in stages] == ["--train-only=densecl", "--train-only=superpixels"]
    assert [job.after for job in jobs] == [None, 0, 1, 1, 0, 0]
    assert [len(job.cells) for job in jobs] == [0, 0, 1, 1, 1, 1]
    assert keys(units_of(work, "--campaign", file)) == {None}  # later keys depend on the backbone's file

    assert main(list(jobs[0].command)) == 0
    assert len(list((work / "backbones").glob("*/backbone.pt"))) == 1 and not (work / "models").exists()
    jobs = jobs_of(work, "--campaign", file)
    assert [job.after for job in jobs] == [None, 0, 0, None, None]
    assert None not in keys(units_of(work, "--campaign", file))
    for job in jobs:
        assert main(list(job.command)) == 0
    known = keys(units_of(work, "--campaign", file))
    assert recorded_keys(work / "records") == known and len(known) == 4
    assert jobs_of(work, "--campaign", file) == []


def test_a_training_that_several_protocols_share_comes_once(work: Path) -> None:
    jobs = jobs_of(
        work, "--dataset", "tiny", "--method", "ssl-alpnet", "--protocol", "alpnet-ep1,open-ep", *MODEL
    )
    assert [bool(job.cells) for job in jobs] == [False, True, True]
    assert jobs[0].command[-1] == "--train-only=episodes" and [job.after for job in jobs] == [None, 0, 0]
    alone = jobs_of(work, "--dataset", "tiny", "--method", "ssl-alpnet", *MODEL)
    assert [(bool(job.cells), job.after) for job in alone] == [(True, None)]  # one unit trains for itself


def test_costs_are_reckoned_until_they_are_measured(work: Path) -> None:
    words = ["--dataset", "tiny", "--method", "ssl-alpnet", *MODEL]
    (first,) = jobs_of(work, *words)
    assert first.basis == RECKONED
    assert main(list(first.command)) == 0
    (other,) = jobs_of(work, *words, "--seeds", "1")
    assert other.basis == MEASURED and other.seconds > 0
    (training,) = (work / "logs" / "trainings").glob("*.json")
    entry = json.loads(training.read_text())
    entry["seconds"] = 500.0 * entry["steps"]
    training.write_text(json.dumps(entry))
    (dearer,) = jobs_of(work, *words, "--seeds", "1")
    assert 990 < dearer.seconds - other.seconds < 1010 or dearer.seconds > 1000


def test_lines_are_quoted_and_say_their_cost(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spaced = work.rename(work.parent / "a work; folder")
    words = ["jobs", "--work", str(spaced), "--dataset", "tiny", "--method", "copy-support", "--folds", "0,1"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all("# job" in line for line in lines)
    for line in lines:
        command = shlex.split(line, comments=True)
        assert command[0] == "fewshot" and f"--work={spaced}" in command
        assert main(command[1:]) == 0
    capsys.readouterr()
    assert main([*words, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_parts_divide_the_list(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(work, MANY)
    parts = {}
    for part in ("all", "stages", "cells"):
        words = ["jobs", "--work", str(work), "--campaign", file, "--folds", "0", "--part", part]
        assert main(words) == 0
        parts[part] = capsys.readouterr().out.splitlines()
    assert parts["all"] == parts["stages"] + parts["cells"] and parts["stages"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('method = "panet"', "no dataset; give --dataset"),
        ('dataset = "tiny"\nmethod = ["panet", "panet"]', "key method: found ['panet', 'panet']"),
        (
            'dataset = "tiny"\nmethod = "panet"\nseed = "0,1"',
            "key seed: found '0,1', expected different whole",
        ),
        ('dataset = "tiny"\nmethod = "panet"\nsteps = 1.5', "key steps: found 1.5"),
        ('dataset = "tiny"\nmethod = "panet"\nstep = 1', "unknown key 'step': did you mean 'steps'"),
        ('dataset = "tiny"\nmethod = "panett"', "unknown method 'panett'"),
        ("runs = 1", "key runs: found 1, expected tables [[runs]]"),
        ("dataset", "not a TOML file"),
    ],
)
def test_a_wrong_campaign_is_one_line(
    text: str, said: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["jobs", "--work", str(work), "--campaign", write(work, text)]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_an_unknown_stage_is_one_line(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["run", "--work", str(work), "--dataset", "tiny", "--method"]
    assert main([*run, "ssl-alpnet", *MODEL, "--train-only", "episode"]) == 2
    assert "did you mean 'episodes'" in capsys.readouterr().err
    assert main([*run, "copy-support", "--train-only", "episodes"]) == 2
    assert "has nothing to train" in capsys.readouterr().err


def slowness() -> float:
    """Return how much longer this processor takes for a fixed piece of work than 0.2 seconds; at least 1."""
    begun = time.process_time()
    for number in range(60_000):
        json.loads(json.dumps({"number": number, "text": "x" * 20, "list": [number] * 5}))
    return max(1.0, (time.process_time() - begun) / 0.2)


def test_ten_thousand_cells_are_listed_in_five_seconds(work: Path) -> None:
    """Seconds of the processor, because other tests run beside this one; a slow one has more of them."""
    seeds = ", ".join(map(str, range(50)))
    file = write(work, f"{MANY}seed = [{seeds}]\n")
    command = [sys.executable, "-m", "fewshot", "jobs", "--work", str(work), "--campaign", file]
    spent: Any = resource.getrusage(resource.RUSAGE_CHILDREN)
    before = spent.ru_utime + spent.ru_stime
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "10000 of 10000 cells missing" in ended.stderr
    assert spent.ru_utime + spent.ru_stime - before < 5.0 * slowness()
