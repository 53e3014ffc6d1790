"""What a record says of the program that made it: commit, versions, device."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

_HOME = Path(__file__).resolve().parent.parent


def environment(device: torch.device) -> dict[str, Any]:
    """Return the `environment` part of a record; `commit` is None outside a git checkout."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--untracked-files=no") if commit is not None else None
    return {
        "fewshot": importlib.metadata.version("fewshot-medseg"),
        "commit": commit,
        "dirty": bool(changes) if commit is not None else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


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
