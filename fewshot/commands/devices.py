"""One command on several devices: each device's process takes cells that no other process works on.

The processes share only the work folder, like the same command typed on several machines.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fewshot.base.errors import UserError


def work_side_by_side(typed: Sequence[str], devices: Sequence[str], overwrite: bool) -> None:
    """Run the command line `typed` once on each device, at the same time, and wait for all.

    Their output is discarded, because the caller prints the finished cells. Processes on the CPU share its
    cores.

    Args:
        typed: the command's name and options.
        devices: one process runs on each.
        overwrite: whether --overwrite is among the options, which is an error here.

    Raises:
        UserError: a process failed; the others finished their work first.
    """
    from fewshot.base.progress import ROW
    from fewshot.base.signals import HELPER

    if overwrite:
        raise UserError("--overwrite with several devices: each would do every cell again; give one --device")
    processes = []
    try:
        for row, device in enumerate(devices):
            command = [sys.executable, "-P", "-m", "fewshot", *typed, "--device", device]
            environment = {**os.environ, ROW: str(row), HELPER: "1", **_threads(devices), **_home()}
            processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment))
        ended = [process.wait() for process in processes]
    finally:
        for process in processes:
            process.terminate()  # does nothing to a process that has ended
        for process in processes:
            process.wait()
    failed = [f"{device} (status {status})" for device, status in zip(devices, ended, strict=True) if status]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(devices)} processes failed with the errors above: {', '.join(failed)}; "
            "finished cells are kept, and the same command continues from there"
        )


def _home() -> dict[str, str]:
    """Return the environment in which a process finds this program without the current folder (`-P`)."""
    home = Path(__file__).resolve().parent.parent.parent
    if "site-packages" in home.parts:
        return {}
    paths = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    return {"PYTHONPATH": os.pathsep.join([*paths, str(home)])}


def _threads(devices: Sequence[str]) -> dict[str, str]:
    """Return the environment in which CPU processes share the cores; empty if the user set one."""
    on_cpu = sum(device == "cpu" for device in devices)
    if on_cpu < 2 or "OMP_NUM_THREADS" in os.environ:
        return {}
    from episodes.pseudo_labels.superpixels import usable_cores

    return {"OMP_NUM_THREADS": str(max(1, usable_cores() // on_cpu))}
