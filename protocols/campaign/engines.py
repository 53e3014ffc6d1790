"""Job engines through submitit: Slurm, and processes of this machine. A job is handed over as a command line.

submitit writes the command and its outcome beside the logs, starts it, and puts it back into the queue when
its time is over or when Slurm preempts it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fewshot.base.errors import UserError
from protocols.campaign.arrays import SAME_TASK, TASK, JobArray
from protocols.campaign.outcomes import outcome

try:
    import submitit
    from submitit.helpers import Checkpointable, CommandFunction, DelayedSubmission
except ModuleNotFoundError as missing:
    raise UserError(
        "submitit is not installed, expected for jobs on Slurm or on several devices: "
        "pip install 'fewshot-medseg[slurm]'"
    ) from missing

POLL = 0.1  # seconds between two looks at local jobs
SAVING = 80.0  # seconds that a training has to save its checkpoint
GRACE = 600.0  # seconds that a stopped job waits for Slurm to end it
YEAR = 365 * 24 * 60  # minutes
INTERRUPTED = (
    128 + signal.SIGINT,
    128 + signal.SIGTERM,
    -signal.SIGUSR2,
    -signal.SIGTERM,
)  # statuses of a command that a signal stopped
FAILED, SKIPPED = "failed", "skipped"
CONTROLLERS = "controllers.err"  # what submitit's processes beside local jobs say


class Command(Checkpointable, CommandFunction):
    """A command line as submitit's job. Its pickle holds the words alone.

    Args:
        command: words of the command.
        exits: whether the job fails with a failed command, as Slurm's dependencies need it; else the job
            ends well and its outcome is the command's status.
    """

    def __init__(self, command: list[str], exits: bool = True) -> None:
        super().__init__(command)
        self.exits = exits

    def __call__(self) -> int:  # type: ignore[override]
        """Run the command on the job's own streams; return its status."""
        process = subprocess.Popen(self.command)
        _running[:] = [process]
        try:
            status = process.wait()
            if status in INTERRUPTED and self.exits:
                time.sleep(GRACE)  # Slurm ends this job; its signal may arrive after the command's
        finally:
            process.terminate()  # does nothing to a process that has ended
            process.wait()
            _running.clear()
        if status and self.exits:
            sys.exit(status if status > 0 else 128 - status)
        return status

    def checkpoint(self) -> DelayedSubmission:
        """Let the command save and stop, and return the same command for the next start."""
        for process in _running:
            process.send_signal(signal.SIGUSR2)
            try:
                process.wait(SAVING)
            except subprocess.TimeoutExpired:
                process.kill()
        return DelayedSubmission(Command(self.command, self.exits))


_running: list[subprocess.Popen[bytes]] = []  # the command of this job


def fewshot_command(words: Sequence[str], environment: Mapping[str, str | None] | None = None) -> list[str]:
    """Return the words that run `fewshot WORDS` by this interpreter.

    `environment`: variables to set, or to remove where the value is None.
    """
    changes = {**(environment or {}), **home_variables()}
    removed = [word for name, value in changes.items() if value is None for word in ("-u", name)]
    added = [f"{name}={value}" for name, value in changes.items() if value is not None]
    prefix = ["env", *removed, *added] if changes else []
    return [*prefix, sys.executable, "-P", "-m", "fewshot", *words]


def home_variables() -> dict[str, str]:
    """Return the environment in which a process finds this program without the current folder (`-P`)."""
    home = Path(__file__).resolve().parent.parent.parent
    if "site-packages" in home.parts:
        return {}
    paths = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    return {"PYTHONPATH": os.pathsep.join([*paths, str(home)])}


def _python() -> str:
    """Return the shell words by which submitit starts its own process, also without the current folder."""
    variables = [f"{name}={value}" for name, value in home_variables().items()]
    return shlex.join([*(["env", *variables] if variables else []), sys.executable, "-P"])


@dataclass(frozen=True)
class Slot:
    """A place of this machine where one local job runs at a time: options and variables of its commands."""

    options: tuple[str, ...]
    environment: Mapping[str, str | None]


@dataclass(frozen=True)
class LocalJob:
    """A local job: its words after `fewshot`, and the position of the job that must succeed before it."""

    words: tuple[str, ...]
    after: int | None = None


def run_locally(
    jobs: Sequence[LocalJob],
    slots: Sequence[Slot],
    folder: Path,
    on_change: Callable[[int, str, str], None] = lambda _number, _id, _state: None,
    relay: IO[bytes] | None = None,
) -> list[int | str]:
    """Run jobs on the slots of this machine, in order, and wait for all.

    Args:
        jobs: each starts as soon as a slot is free and the job before it has succeeded.
        slots: at most one job runs in each.
        folder: receives submitit's files and the logs.
        on_change: called with a job's position, id and state: "running", "done", "failed" or "skipped".
        relay: receives what the jobs write to their standard error, while they run.

    Returns:
        The status of every command: 0 or an error's; "failed" without a status, "skipped" after a failed job.
    """
    executor = submitit.LocalExecutor(folder=folder, python=_python())
    executor.update_parameters(timeout_min=YEAR)
    ended: dict[int, int | str] = {}
    waiting = list(range(len(jobs)))
    running: dict[int, tuple[int, Any, _Relay]] = {}  # slot -> position, job, relay
    try:
        while waiting or running:
            for slot in range(len(slots)):
                number = None if slot in running else _take_ready(jobs, waiting, ended, on_change)
                if number is not None:
                    words = (*jobs[number].words, *slots[slot].options)
                    command = Command(fewshot_command(words, slots[slot].environment), exits=False)
                    with _stderr_into(folder / CONTROLLERS), _without_current_folder():
                        job = executor.submit(command)
                    running[slot] = number, job, _Relay(Path(job.paths.stderr), relay)
                    on_change(number, job.job_id, "running")
            for slot, (number, job, copy) in list(running.items()):
                finished = job.done()
                copy.forward()
                if finished:
                    del running[slot]
                    status = outcome(folder, job.job_id)
                    ended[number] = FAILED if status is None else status
                    on_change(number, job.job_id, "done" if status == 0 else FAILED)
            time.sleep(POLL)
    finally:
        for _number, job, _copy in running.values():
            job.cancel()
        for _number, job, _copy in running.values():
            while not job.done():
                time.sleep(POLL)
    return [ended[number] for number in range(len(jobs))]


@contextmanager
def _stderr_into(path: Path) -> Iterator[None]:
    """Let processes that start in the block write their standard error to a file.

    submitit's process beside each job inherits it, and prints a traceback if the job is cancelled.
    """
    kept = os.dup(2)
    try:
        with path.open("ab") as stream:
            os.dup2(stream.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def _without_current_folder() -> Iterator[None]:
    """Let Python processes that start in the block import nothing from the current folder.

    submitit starts its process beside a local job without `-P`.
    """
    name = "PYTHONSAFEPATH"
    kept = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]
        if kept is not None:
            os.environ[name] = kept


def _take_ready(
    jobs: Sequence[LocalJob],
    waiting: list[int],
    ended: dict[int, int | str],
    on_change: Callable[[int, str, str], None],
) -> int | None:
    """Remove and return the first waiting job that may start; skip those whose predecessor failed."""
    for number in list(waiting):
        before = jobs[number].after
        if before is None or ended.get(before) == 0:
            waiting.remove(number)
            return number
        if before in ended:
            waiting.remove(number)
            ended[number] = SKIPPED
            on_change(number, "", SKIPPED)
    return None


class _Relay:
    """Copies what a file gains to a stream."""

    def __init__(self, path: Path, stream: IO[bytes] | None) -> None:
        self._path, self._stream, self._place = path, stream, 0

    def forward(self) -> None:
        if self._stream is None or not self._path.is_file():
            return
        with self._path.open("rb") as file:
            file.seek(self._place)
            content = file.read()
        self._place += len(content)
        self._stream.write(content)
        self._stream.flush()


@dataclass(frozen=True)
class SlurmOptions:
    """What Slurm needs to know about a job.

    Attributes:
        partition: name; None for the cluster's default.
        gpus: GPUs of a job.
        cpus: cores of a job; None for the cluster's default.
        memory_gb: memory of a job; None for the cluster's default.
        minutes: time limit of a job; a longer one is put back into the queue and continues.
        requeues: how often a job may run out of time.
        cap: most simultaneous jobs; None for no cap.
        largest: most tasks of an array.
        more: further options of sbatch, name -> value.
    """

    partition: str | None
    gpus: int
    cpus: int | None
    memory_gb: float | None
    minutes: int
    requeues: int
    cap: int | None
    largest: int
    more: Mapping[str, str]


def check_slurm() -> None:
    """Raise `UserError` if this machine has no programs of Slurm."""
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise UserError(
            "no sbatch and srun on this machine, expected where jobs are submitted to Slurm; submit there, "
            "use --local N, or run the lines of `fewshot jobs` by another engine"
        )


def submit_arrays(
    arrays: Sequence[JobArray],
    options: SlurmOptions,
    folder: Path,
    name: str,
    on_array: Callable[[JobArray, list[str]], None],
) -> None:
    """Submit job arrays to Slurm, each with its dependency.

    Args:
        arrays: from `plan_arrays`.
        options: of every job.
        folder: receives submitit's files and the logs; all nodes must see it.
        name: of the jobs in the queue.
        on_array: called with each array and the ids of its jobs, as soon as it is submitted.

    Raises:
        UserError: Slurm refuses an array.
    """
    ids: list[list[str]] = []
    for array in arrays:
        executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=options.requeues, python=_python())
        given = {
            "partition": options.partition,
            "gpus_per_node": options.gpus or None,
            "cpus_per_task": options.cpus,
            "mem": None if options.memory_gb is None else f"{options.memory_gb * 1024:.0f}MB",
            "dependency": _dependency(array, ids),
        }
        executor.update_parameters(
            job_name=name,
            time=options.minutes,
            signal_delay_s=min(90, options.minutes * 30),
            array_parallelism=options.cap or len(array.jobs),
            # a lost node's job goes back to the queue; a job whose predecessor failed leaves it
            additional_parameters={"requeue": True, "kill-on-invalid-dep": "yes", **options.more},
            **{key: value for key, value in given.items() if value is not None},
        )
        try:
            with executor.batch():
                submitted = [executor.submit(Command(fewshot_command(job.command))) for job in array.jobs]
        except (submitit.core.utils.FailedJobError, subprocess.CalledProcessError) as error:
            raise UserError(f"Slurm refused {len(array.jobs)} jobs: {error}; correct the options") from None
        ids.append([str(job.job_id) for job in submitted])
        on_array(array, ids[-1])


def _dependency(array: JobArray, ids: Sequence[Sequence[str]]) -> str | None:
    if array.after is None:
        return None
    before = ids[array.after]
    if array.relation == TASK:
        assert array.task is not None
        return f"{TASK}:{before[array.task]}"
    relation = TASK if array.relation == SAME_TASK and len(before) == 1 else array.relation
    return f"{relation}:{before[0].partition('_')[0]}"
