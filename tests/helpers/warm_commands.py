"""Commands in children of a warm process that has torch and the package imported: they start in milliseconds.

The parent is the fork server of multiprocessing. A child is killed, stopped or waited for like any process.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from places import HELPERS, ROOT

PRELOADED = ["warm_commands", "warm_imports"]


def start_command(
    argv: Sequence[str], log: Path, folder: Path, largest: int | None = None, names: Path | None = None
) -> BaseProcess:
    """Start `fewshot ARGV` in `folder`; both of its streams are appended to `log`.

    `largest`: bytes of the largest file that it can write; None for no limit. `names`: a file that receives
    the path of every temporary that the command makes, a line each.
    """
    paths = [str(ROOT), str(HELPERS)]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # the server inherits it at its start
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=run_command, args=(list(argv), str(log), str(folder), largest, names))
    process.start()
    return process


def run_command(
    argv: Sequence[str], log: str, folder: str, largest: int | None = None, names: Path | None = None
) -> None:
    """Run one command as the program does, with its streams in `log`."""
    from fewshot.commands.main import main

    if names is not None:
        log_temporaries(names)

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = (
        os.fdopen(1, "w", closefd=False),
        os.fdopen(2, "w", closefd=False),
    )  # of this file's kind
    os.chdir(folder)
    if largest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    sys.exit(main(argv))


def log_temporaries(names: Path) -> None:
    """Append the path of every temporary that this process makes from now on to `names`."""
    from fewshot.files import temporaries

    name_of = temporaries._name

    def log_name(target: Path) -> Path:
        path = name_of(target)
        with names.open("a") as stream:
            stream.write(f"{path}\n")
        return path

    temporaries._name = log_name


def status_of(
    argv: Sequence[str], log: Path, folder: Path, seconds: float = 300, largest: int | None = None,
    names: Path | None = None,
) -> int | None:  # fmt: skip
    """Run a command to its end; return its exit status, None if it took longer than `seconds`."""
    process = start_command(argv, log, folder, largest, names)
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        return None
    return process.exitcode
