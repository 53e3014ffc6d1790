"""One command on several devices: a process on each takes the cells that no other process is at.

They share nothing but the work folder, as processes on several machines do that were given the same command.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from fewshot.base.errors import UserError


def work_side_by_side(typed: Sequence[str], devices: Sequence[str], redo: bool) -> None:
    """Run the command line `typed` once on each device, at the same time, and wait for all.

    What they print is thrown away: the caller finds all done and prints. Processes on the CPU share its
    cores. Raises `UserError` where a process failed; the others end their work first.
    """
    from fewshot.base.progress import ROW

    if redo:
        raise UserError("--overwrite with several devices: each would do every cell again; give one --device")
    processes = []
    try:
        for row, device in enumerate(devices):
            command = [sys.executable, "-m", "fewshot", *typed, "--device", device]
            environment = {**os.environ, ROW: str(row), **_threads(devices)}
            processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment))
        ended = [process.wait() for process in processes]
    finally:
        for process in processes:
            process.terminate()  # one that has ended is left alone
        for process in processes:
            process.wait()
    failed = [f"{device} (status {status})" for device, status in zip(devices, ended, strict=True) if status]
    if failed:
        raise UserError(
            f"of {len(devices)} processes {len(failed)} failed, as said above: {', '.join(failed)}; what is "
            "done is kept, and the same command goes on from there"
        )


def _threads(devices: Sequence[str]) -> dict[str, str]:
    """Return the setting by which processes on the CPU share its cores, unless the user chose one."""
    on_cpu = sum(device == "cpu" for device in devices)
    if on_cpu < 2 or "OMP_NUM_THREADS" in os.environ:
        return {}
    from episodes.pseudo_labels.superpixels import usable_cores

    return {"OMP_NUM_THREADS": str(max(1, usable_cores() // on_cpu))}
