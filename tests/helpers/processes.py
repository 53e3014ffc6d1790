"""Several processes that train together, as torchrun starts them but each in the test's own hand."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from places import HELPERS, ROOT

from fewshot.files.seals import SEAL


def start_together(arguments: Sequence[str], count: int) -> list[subprocess.Popen[str]]:
    """Start `count` processes of python with these arguments; what one says on stderr can be read from it."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    place = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    paths = os.pathsep.join((str(ROOT), str(HELPERS)))
    return [
        subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={
                **os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1",
                "PYTHONPATH": paths,
            },
        )
        for rank in range(count)
    ]  # fmt: skip


def end_well(processes: Sequence[subprocess.Popen[str]]) -> list[tuple[str, str]]:
    """Wait for all, and return what each wrote to both streams; none may fail or outlive the test."""
    try:
        ends = [process.communicate(timeout=200) for process in processes]
    finally:
        kill(processes)
    for process, (_printed, said) in zip(processes, ends, strict=True):
        assert process.returncode == 0, said
    return ends


def kill(processes: Sequence[subprocess.Popen[str]]) -> None:
    """End all at once, without leave to tidy up."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
    for process in processes:
        process.communicate()


def results(work: Path) -> dict[str, bytes]:
    """Return the bytes of all that must be equal: records, weights, losses, episodes.

    A killed process may leave the temporary file of a write, whose name begins with a dot.

    The commit, and with it the seal, is left out of the records: somebody may commit while this long test
    runs.
    """
    found = {str(path.relative_to(work)): path.read_bytes() for path in (work / "models").glob("*/[!.]*")}
    for path in (work / "records").glob("*.json"):
        record = json.loads(path.read_text())
        del record["environment"]["commit"], record["environment"]["dirty"], record[SEAL]
        found[f"records/{record['key']}"] = json.dumps(record).encode()
    return found
