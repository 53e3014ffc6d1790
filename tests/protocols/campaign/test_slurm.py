"""A campaign on a real one-node Slurm: a lost node, a preemption, and the same bytes at the end."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from one_node_slurm import OneNodeSlurm, missing_programs, wait_until
from places import ROOT
from processes import results
from tiny import tiny_store

from fewshot.commands.main import main
from fewshot.training.log import last_step
from protocols.campaign.status import campaign_status

pytestmark = pytest.mark.slow

CAMPAIGN = """
dataset = "tiny"
folds = "0"
[[runs]]
method = "copy-support"
setting = [1, 2]
[[runs]]
method = "ssl-alpnet"
encoder = "resnet18"
weights = "random"
steps = 120
checkpoint-every = 10
protocol = ["alpnet-ep1", "open-ep"]
seed = [0, 1]
"""


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[OneNodeSlurm]:
    missing = missing_programs()
    if missing:
        pytest.skip(f"no {', '.join(missing)} here; apt-get install slurm-wlm munge, as root")
    with tempfile.TemporaryDirectory(prefix="slurm") as folder:  # munge wants a short path
        made = OneNodeSlurm(Path(folder))
        for name in ("SLURM_CONF", "OMP_NUM_THREADS"):
            monkeypatch.setenv(name, made.environment.get(name, "1"))
        monkeypatch.setenv("SLURM_CONF", made.environment["SLURM_CONF"])
        try:
            made.start()
            yield made
        finally:
            made.stop()


def steps(work: Path) -> dict[str, int]:
    """Return model -> last logged step."""
    return {path.parent.name: last_step(path) for path in (work / "models").glob("*/losses.csv")}


def test_a_campaign_survives_a_lost_node_and_a_preemption(
    slurm: OneNodeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    alone, work = tmp_path / "alone", tmp_path / "work"
    for folder in (alone, work):
        tiny_store(folder / "stores" / "tiny")
    (tmp_path / "campaign.toml").write_text(CAMPAIGN)
    campaign = ["--campaign", str(tmp_path / "campaign.toml")]
    submit = ["submit", "--work", str(work), *campaign, "--time", "30", "--memory", "0.1"]
    assert main(submit) == 0
    assert "8 jobs submitted in" in capsys.readouterr().out

    # both trainings run: two seeds, one shared stage each
    wait_until(
        lambda: len(slurm.running()) == 2 and min([*steps(work).values(), 0, 0][:2]) > 10, "both train"
    )
    slurm.stop_node()
    lost = {name for name, count in slurm.restarts().items() if count}
    assert lost
    slurm.start_node()
    wait_until(lambda: bool(slurm.running()), "a job runs again")

    resumed = steps(work)
    wait_until(
        lambda: any(step > resumed[key] + 5 for key, step in steps(work).items()), "a training goes on"
    )
    before = slurm.restarts()
    slurm.run("sbatch", "--partition=urgent", "--ntasks=2", "--wrap=sleep 3", "--output=/dev/null")
    wait_until(
        lambda: any(count > before.get(name, 0) for name, count in slurm.restarts().items()), "a preemption"
    )
    preempted = [name for name, count in slurm.restarts().items() if count > before.get(name, 0)]

    def ended() -> bool:
        (row, other) = (
            sum(one[state] for one in campaign_status(work).rows) for state in ("recorded", "cells")
        )
        return row == other or bool(campaign_status(work).failures)

    wait_until(ended, "all cells are recorded", 1500)
    status = campaign_status(work)
    logs = [failure.log.read_text() for failure in status.failures]
    assert logs == [], slurm.jobs()
    assert sum(row["recorded"] for row in status.rows) == 12 and status.stages["recorded"] == 2

    listed = subprocess.run(
        [sys.executable, "-m", "fewshot", "jobs", "--work", str(alone), *campaign], capture_output=True,
        text=True, check=True, cwd=ROOT,
    ).stdout.splitlines()  # fmt: skip
    for line in listed:
        subprocess.run(
            line.replace("fewshot", f"{sys.executable} -m fewshot", 1), shell=True, check=True, cwd=ROOT
        )
    ours, theirs = results(work), results(alone)
    assert ours == theirs
    records = sum(name.startswith("records/") for name in ours)
    assert records == 12
    with capsys.disabled():
        print(
            f"\n{len(listed)} jobs, {records} records and {len(ours) - records} files of models byte-equal "
            f"to a local run; jobs requeued after the lost node: {sorted(lost)}, after the preemption: "
            f"{preempted}"
        )
