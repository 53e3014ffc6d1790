"""Runs bad inputs through the command line, each in a forked process with limits on memory and time."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bad_inputs.case import Base, Case

SECONDS = 10  # of processor time
WALL_SECONDS = 120  # a process that waits without computing hangs as well
BYTES = 2 << 30  # resident, the parent's included; and of new address space
TRACEBACK = 70  # exit status of a worker whose command raised
RAW = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Outcome:
    """What a command did with a bad input.

    `status`: exit status, negative for a signal; `seconds` of processor time; `bytes`: largest resident size.
    """

    case: Case
    status: int
    seconds: float
    bytes: int
    hung: bool
    output: str
    errors: str

    @property
    def fault(self) -> str | None:
        """Return what is wrong with the outcome, one word of `FAULTS` first; None for a clean refusal."""
        if self.hung or self.status == -signal.SIGXCPU or self.seconds > SECONDS:
            return f"hang: {self.seconds:.1f} s of processor time"
        if self.bytes > BYTES:
            return f"memory: {self.bytes >> 20} MiB"
        if self.status == TRACEBACK or "Traceback (most recent" in self.errors:
            return f"traceback: {self.last}"
        if self.status < 0:
            return f"crash: signal {-self.status}"
        if self.status not in self.case.statuses:
            return f"accepted: status {self.status}, expected {self.case.statuses}; {self.last}"
        if 2 in self.case.statuses and self.status == 2:
            lines = [line for line in self.errors.splitlines() if line.startswith("fewshot: error:")]
            if len(lines) != 1 or not self.last.startswith("fewshot: error:"):
                return f"message: {len(lines)} lines of error; {self.last}"
        is_code = self.case.name.startswith("code/")  # what a user's code allocates is not ours
        if "MemoryError" in self.errors and not is_code:
            return f"memory: allocated before the size was checked; {self.last}"
        if self.case.says not in self.errors + self.output:
            return f"message: expected {self.case.says!r}; {self.last}"
        if RAW.search(self.output) or any(RAW.search(line) for line in self._messages()):
            return f"message: control characters; {self.last!r}"
        if len(self.last) > 3000:
            return f"message: {len(self.last)} characters"
        return None

    @property
    def last(self) -> str:
        """Return the last line of standard error."""
        lines = self._messages()
        return lines[-1] if lines else ""

    def _messages(self) -> list[str]:
        return [line for line in self.errors.split("\n") if line.strip()]


FAULTS = ("traceback", "hang", "memory", "crash", "accepted", "message")


def run_cases(cases: Sequence[Case], base: Base, folder: Path, workers: int = 2) -> Iterator[Outcome]:
    """Yield the outcome of every case; `folder` receives a folder for each."""
    preload()
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page
    waiting = list(enumerate(cases))[::-1]
    running: dict[int, tuple[Case, Path, float]] = {}
    while waiting or running:
        while waiting and len(running) < workers:
            number, case = waiting.pop()
            place = folder / f"{number:04d}"
            place.mkdir(parents=True)
            running[_start(case, base, place)] = (case, place, time.monotonic())
        pid, status, usage = os.wait4(-1, os.WNOHANG)
        if pid in running:
            case, place, _started = running.pop(pid)
            code = os.waitstatus_to_exitcode(status)
            yield _outcome(case, place, code, usage, hung=False)
            continue
        for process, (case, place, started) in list(running.items()):
            if time.monotonic() - started > WALL_SECONDS:
                os.kill(process, signal.SIGKILL)
                _pid, status, usage = os.wait4(process, 0)
                del running[process]
                yield _outcome(case, place, os.waitstatus_to_exitcode(status), usage, hung=True)
        time.sleep(0.005)
    gc.unfreeze()


def preload() -> None:
    """Import what the commands import late, once for all workers."""
    for name in (
        "episodes.figures.contact_sheet", "episodes.prepare.build", "episodes.prepare.downloads.layouts",
        "episodes.prepare.own_data.folder", "fewshot.contract.checks", "protocols.own_scan.segment",
        "protocols.runs.evaluate_existing", "protocols.runs.runner", "protocols.scoring.score_masks",
        "protocols.studies.probe", "results.leaderboard.board", "results.tables.fold_tables",
    ):  # fmt: skip
        importlib.import_module(name)


def _outcome(case: Case, place: Path, code: int, usage: resource.struct_rusage, hung: bool) -> Outcome:
    output, errors = ((place / name).read_text(errors="replace") for name in ("stdout", "stderr"))
    seconds = usage.ru_utime + usage.ru_stime
    shutil.rmtree(place)  # copies of models would fill the disk
    return Outcome(case, code, seconds, usage.ru_maxrss << 10, hung, output, errors)


def _start(case: Case, base: Base, place: Path) -> int:
    """Fork a worker for one case and return its process id."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    status = TRACEBACK
    try:
        status = _work(case, base, place)
    except BaseException:  # noqa: BLE001 (everything is an outcome, SystemExit included)
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


def _work(case: Case, base: Base, place: Path) -> int:
    inside = place / "in"
    inside.mkdir()
    argv = case.make(inside, base)
    for name, stream, number in (("stdout", "w", 1), ("stderr", "w", 2)):
        descriptor = os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, number)
        setattr(sys, name, os.fdopen(number, stream, encoding="utf-8", closefd=False))
    for handler in logging.getLogger().handlers[:]:
        logging.getLogger().removeHandler(handler)
    os.chdir(place)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS + 3, SECONDS + 5))
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from fewshot.commands.main import main

    try:
        return main(argv)
    except SystemExit as exit_:
        return int(exit_.code or 0)


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
