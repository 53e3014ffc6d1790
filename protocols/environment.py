"""The `environment` part of a record: commit, versions, device and threads of the program that wrote it."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

from results.records.record_parts import EnvironmentPart

_HOME = Path(__file__).resolve().parent.parent
_CPU_FILE = Path("/proc/cpuinfo")


def environment(device: torch.device) -> EnvironmentPart:
    """Return the `environment` part of a record; outside a git checkout `commit` and `dirty` hold None."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--untracked-files=no") if commit is not None else None
    return EnvironmentPart(
        fewshot=importlib.metadata.version("fewshot-medseg"),
        commit=commit,
        dirty=bool(changes) if commit is not None else None,
        python=platform.python_version(),
        **machine(device),
    )


def machine(device: torch.device) -> dict[str, Any]:
    """Return the facts that decide the last bits of a computation: device, processor, threads, torch."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


@cache
def processor() -> str:
    """Return the model of the processor, or its architecture if the system names no model."""
    if _CPU_FILE.is_file():  # Linux
        lines = _CPU_FILE.read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    else:
        names = [_output("sysctl", "-n", "machdep.cpu.brand_string") or ""]  # macOS
    return next((name for name in names if name), platform.machine() or "unknown")


def _git(*arguments: str) -> str | None:
    return _output("git", "-C", str(_HOME), *arguments) if (_HOME / ".git").exists() else None


def _output(*command: str) -> str | None:
    """Return the standard output of a program; None if the program is missing or fails."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return run.stdout.strip() if run.returncode == 0 else None
