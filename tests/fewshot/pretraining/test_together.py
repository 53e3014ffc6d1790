"""Several processes at one backbone: who waits, what is refused, and going on after a kill."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from processes import end_well, kill, start_together
from twelve_pictures import STAGE, Twelve

from fewshot.base.errors import UserError
from fewshot.commands.main import main
from fewshot.pretraining.distributed import DistributedContext, init_distributed
from protocols.training.pretraining import ensure_pretrained

PLACE = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
CPU = torch.device("cpu")
SETTINGS = ["epochs=4", "batch=6", "queue=12", "size=64", "hidden=16", "out=8", "learning_rate=0.03"]
FOLDER = ["--encoder", "resnet18", "--device", "cpu", "--checkpoint-every", "2"]


def launched(monkeypatch: pytest.MonkeyPatch, **changed: str | None) -> None:
    """Pretend that torchrun started this process as the first of two, but for what is changed."""
    told = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in {**told, **changed}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)


def test_a_number_of_processes_without_torchrun_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    launched(monkeypatch, **dict.fromkeys(PLACE))
    ask = ["pretrain", "densecl", "--work", str(tmp_path), "--images", str(tmp_path), "--device", "cpu"]
    assert main(ask) == 2
    error = capsys.readouterr().err
    assert "WORLD_SIZE is set to '2', but not RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT" in error
    assert error.count("\n") == 1
    launched(monkeypatch, WORLD_SIZE="two")
    with pytest.raises(UserError, match="WORLD_SIZE is set to 'two', which is not a number of processes"):
        init_distributed(CPU).__enter__()
    launched(monkeypatch, **{**dict.fromkeys(PLACE), "WORLD_SIZE": "1"})
    with init_distributed(CPU) as (together, device):
        assert together.size == 1 and device == CPU


def test_a_numbered_gpu_is_refused_where_every_process_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match=r"--device cuda:1: .*leave the number out \(--device cuda\)"):
        init_distributed(torch.device("cuda", 1)).__enter__()


@pytest.mark.parametrize(
    ("batch", "size", "processes", "words"),
    [
        (4, 64, 3, "a batch of 4 pictures is no multiple of 3 processes"),
        (4, 32, 4, "one picture of 32 pixels a process .* give a batch of 8 or a larger size"),
    ],
)
def test_batches_that_can_not_be_shared(
    batch: int, size: int, processes: int, words: str, tmp_path: Path
) -> None:
    stage = replace(STAGE, recipe=replace(STAGE.recipe, batch=batch, size=size))
    with pytest.raises(UserError, match=words):
        ensure_pretrained(stage, Twelve(), None, tmp_path, DistributedContext(0, processes))
    assert not list(tmp_path.iterdir())


WAITING = """
import fcntl, sys, threading, time, torch
from datetime import timedelta
from pathlib import Path
import torch.distributed as dist
from fewshot.pretraining import distributed as module
from fewshot.pretraining.distributed import init_distributed as joined
from fewshot.training.loop import TrainingResult
from protocols.training import pretraining
from twelve_pictures import STAGE, Twelve

work = Path(sys.argv[1])
module.PAUSE = 0.2
pretraining._train = lambda *arguments: TrainingResult(steps=0, skipped=0)
with joined(torch.device("cpu")) as (together, device):
    path = pretraining.ensure_pretrained(STAGE, Twelve(), None, work, together)
    together.wait()
    begun = time.monotonic()
    if together.rank == 0:
        path.unlink()
        lock = (work / "locks" / f"{path.parent.name}.lock").open("a")
        fcntl.flock(lock, fcntl.LOCK_EX)
        threading.Timer(15, lock.close).start()
    together.wait()
    dist.distributed_c10d._set_pg_timeout(timedelta(seconds=8), dist.group.WORLD)
    pretraining.ensure_pretrained(STAGE, Twelve(), None, work, together)
    print(time.monotonic() - begun)
"""


@pytest.mark.slow
def test_all_wait_for_another_commands_lock_however_long_it_takes(tmp_path: Path) -> None:
    """Until the first has it the others must not sit in a collective that times out, here after 8 seconds."""
    (tmp_path / "program.py").write_text(WAITING)
    ends = end_well(start_together([str(tmp_path / "program.py"), str(tmp_path / "work")], 2))
    assert all(14 < float(printed) < 60 for printed, _said in ends)
    assert len(list((tmp_path / "work" / "backbones").glob("*/backbone.pt"))) == 1


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    draw = np.random.Generator(np.random.PCG64(0))
    (tmp_path / "pictures").mkdir()
    for number in range(12):
        grey = draw.integers(0, 256, (40, 50), dtype=np.uint8)
        Image.fromarray(grey).save(tmp_path / "pictures" / f"{number}.png")
    return tmp_path / "pictures"


@pytest.mark.slow
def test_three_processes_killed_and_begun_again_end_in_the_same_file(pictures: Path, tmp_path: Path) -> None:
    """From three on the sum of gradients depends on its order, so the buckets must be those of no kill."""

    def command(work: Path) -> list[str]:
        settings = [part for one in SETTINGS for part in ("--option", one)]
        source = ["--work", str(work), "--images", str(pictures)]
        return ["-m", "fewshot", "pretrain", "densecl", *source, *FOLDER, *settings]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    ends = end_well(start_together(command(whole), 3))
    assert "pictures: 12 images" in ends[0][0]
    assert [line for _printed, said in ends for line in said.splitlines() if "Warning" in line] == []
    processes = start_together(command(killed), 3)
    deadline = time.monotonic() + 120
    while not list((killed / "backbones").glob("*/last.pt")):
        assert all(one.poll() is None for one in processes) and time.monotonic() < deadline
        time.sleep(0.01)
    kill(processes)
    assert not list((killed / "backbones").glob("*/backbone.pt")), "it ended before it was killed"
    end_well(start_together(command(killed), 3))
    for name in ("backbone.pt", "losses.csv"):
        found, wanted = (next((work / "backbones").glob(f"*/{name}")) for work in (killed, whole))
        assert found.read_bytes() == wanted.read_bytes(), name
