"""Run a list of `fewshot` commands on one machine, several at once, within a limit; pack what they wrote.

    python bench/campaign/run_queue.py QUEUE --work WORK --out OUT [--workers 16] [--seconds 540]

QUEUE  a text file; each line is the arguments of one `fewshot` command, without --work, in the order of
       execution; empty lines and lines that begin with # are skipped
WORK   the work folder, with prepared stores
OUT    receives queue.tar.xz: records, logs, losses, the output of every command and queue.json, which says
       how each command ended and how long it took; no weights and no volumes

A finished cell's record survives the limit. A command that runs at the limit is stopped, and its training can
continue in WORK. The program stops at once if the first commands to end all fail.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
KEPT = ("records", "logs", "output")  # folders of WORK that are packed whole
KEPT_OF_MODELS = ("losses.csv", "*.json")
FIRST = 4  # commands: if so many end first and all fail, the rest would fail too
PACKING = 40  # seconds kept for stopping and packing
GRACE = 20  # seconds that a stopped command has to save a checkpoint, beside others that save theirs


@dataclass
class Command:
    """One line of the queue: when it started and ended in seconds, and its exit status (None: stopped)."""

    line: str
    started: float = 0.0
    ended: float | None = None
    status: int | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)


def read_queue(path: Path) -> list[Command]:
    """Return the commands of a file."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return [Command(line) for line in lines if line and not line.startswith("#")]


def start_fewshot(arguments: Sequence[str], work: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a `fewshot` command of this checkout with one thread; its output goes to `log`."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", ""))),
    }
    command = [sys.executable, "-m", "fewshot", *arguments, "--work", str(work)]
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)


def start(command: Command, number: int, work: Path, now: float) -> None:
    """Start a command; its output goes to WORK/output/NUMBER.txt."""
    with (work / "output" / f"{number:03}.txt").open("wb") as log:
        log.write(f"fewshot {command.line}\n".encode())
        log.flush()
        command.process = start_fewshot(shlex.split(command.line), work, log)
    command.started = now


def steps_taken(work: Path) -> int:
    """Return the training steps in all logs of losses."""
    logs = work.glob("models/**/losses.csv")
    return sum(max(path.read_bytes().count(b"\n") - 1, 0) for path in logs)


def run_queue(commands: list[Command], work: Path, workers: int, seconds: float) -> bool:
    """Run the commands until all have ended or the time is over; return whether none failed or stopped."""
    (work / "output").mkdir(parents=True, exist_ok=True)
    began, said, steps = time.monotonic(), 0.0, steps_taken(work)
    while (now := time.monotonic() - began) < seconds:
        running = [one for one in commands if one.process is not None and one.ended is None]
        for one in running:
            assert one.process is not None
            one.status = one.process.poll()
            if one.status is not None:
                one.ended = now
                if one.status:
                    print(f"[{now:4.0f} s] failed: fewshot {one.line}", flush=True)
        ended = [one for one in commands if one.ended is not None]
        if len(ended) >= FIRST and all(one.status for one in ended):
            print("every command failed so far: the queue stops", flush=True)
            break
        if len(ended) == len(commands):
            break
        waiting = [number for number, one in enumerate(commands) if one.process is None]
        free = workers - sum(one.ended is None for one in running)
        for number in waiting[: max(free, 0)]:
            start(commands[number], number, work, now)
        if now - said >= 15:
            taken = steps_taken(work)
            rate, steps, said = (taken - steps) / (now - said), taken, now
            print(
                f"[{now:4.0f} s] {len(ended)} of {len(commands)} commands, {rate:.0f} steps/s, {taken} steps",
                flush=True,
            )
        time.sleep(0.5)
    stop([one.process for one in commands if one.process is not None and one.ended is None])
    return all(one.status == 0 for one in commands)


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """Let processes save a checkpoint and end, and kill those that do not."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + GRACE
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def pack(commands: list[Command], work: Path, file: Path) -> None:
    """Write records, logs, outputs, losses and the state of the queue to a .tar.xz file."""
    rows = [
        {"line": one.line, "started": one.started, "ended": one.ended, "status": one.status}
        for one in commands
    ]
    state = work / "queue.json"
    state.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    with tarfile.open(file, "w:xz", preset=3) as archive:
        archive.add(state, "queue.json")
        for name in KEPT:
            if (work / name).is_dir():
                archive.add(work / name, name)
        for path in sorted(one for pattern in KEPT_OF_MODELS for one in work.glob(f"models/**/{pattern}")):
            archive.add(path, str(path.relative_to(work)))


def main(argv: list[str] | None = None) -> int:
    """Run and pack; return 0 if every command succeeded."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("queue", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=540.0, help="for everything (default: 540)")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    commands = read_queue(args.queue)
    whole = run_queue(commands, args.work, args.workers, args.seconds - PACKING)
    pack(commands, args.work, args.out / "queue.tar.xz")
    count = sum(one.status == 0 for one in commands)
    print(f"{count} of {len(commands)} commands succeeded; {steps_taken(args.work)} steps")
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
