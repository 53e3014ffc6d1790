"""One command on several devices: each device's process takes cells that no other process works on.

The processes are local jobs of submitit. They share only the work folder, like the same command typed on
several machines.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.base.errors import UserError

if TYPE_CHECKING:
    from protocols.campaign.engines import Slot


def work_side_by_side(typed: Sequence[str], devices: Sequence[str], overwrite: bool) -> None:
    """Run the command line `typed` once on each device, at the same time, and wait for all.

    What they print is discarded, because the caller prints the finished cells. Processes on the CPU share its
    cores.

    Args:
        typed: the command's name and options.
        devices: one process runs on each.
        overwrite: whether --overwrite is among the options, which is an error here.

    Raises:
        UserError: a process failed; the others finished their work first. Or submitit is not installed.
    """
    from protocols.campaign.engines import LocalJob, run_locally

    if overwrite:
        raise UserError("--overwrite with several devices: each would do every cell again; give one --device")
    with tempfile.TemporaryDirectory(prefix="fewshot-") as folder:
        jobs = [LocalJob(tuple(typed)) for _device in devices]
        ended = run_locally(jobs, device_slots(devices), Path(folder), relay=sys.stderr.buffer)
    failed = [f"{device} (status {status})" for device, status in zip(devices, ended, strict=True) if status]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(devices)} processes failed with the errors above: {', '.join(failed)}; "
            "finished cells are kept, and the same command continues from there"
        )


def device_slots(devices: Sequence[str]) -> list[Slot]:
    """Return a place for one process on each device; processes on the CPU share its cores."""
    from fewshot.base.progress import INTERVAL, ROW
    from fewshot.base.signals import HELPER
    from protocols.campaign.engines import Slot

    shown = {INTERVAL: "0.2"} if sys.stderr.isatty() else {}
    gpus = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES")}  # submitit hides all of them
    common = {HELPER: "1"} | shown | gpus | _threads(devices)
    return [Slot((f"--device={device}",), {ROW: str(row), **common}) for row, device in enumerate(devices)]


def _threads(devices: Sequence[str]) -> dict[str, str]:
    """Return the environment in which CPU processes share the cores; empty if the user set one."""
    on_cpu = sum(device == "cpu" for device in devices)
    if on_cpu < 2 or "OMP_NUM_THREADS" in os.environ:
        return {}
    from episodes.pseudo_labels.superpixels import usable_cores

    return {"OMP_NUM_THREADS": str(max(1, usable_cores() // on_cpu))}
