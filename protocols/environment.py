"""What a record says of the program that made it: commit, versions, device."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path

import torch

from results.record import EnvironmentPart

_HOME = Path(__file__).resolve().parent.parent


def environment(device: torch.device) -> EnvironmentPart:
    """Return the `environment` part of a record; `commit` is None outside a git checkout."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--untracked-files=no") if commit is not None else None
    return EnvironmentPart(
        fewshot=importlib.metadata.version("fewshot-medseg"),
        commit=commit,
        dirty=bool(changes) if commit is not None else None,
        python=platform.python_version(),
        torch=str(torch.__version__),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        threads=torch.get_num_threads(),
        processor=processor_name(),
    )


def processor_name() -> str | None:
    """Return the name of the machine's processor, as Linux or Python give it; None where neither does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or None
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (names[0] if names else platform.processor()) or None


def _git(*arguments: str) -> str | None:
    if not (_HOME / ".git").exists():
        return None
    try:
        run = subprocess.run(
            ["git", "-C", str(_HOME), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:  # no git on this machine
        return None
    return run.stdout.strip() if run.returncode == 0 else None
