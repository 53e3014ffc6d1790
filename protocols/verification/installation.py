"""Facts of this installation and its work folder: versions, devices, threads, weights, locks, free space."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from fewshot.base.precision import has_bf16_instructions
from fewshot.encoders.checkpoints import FILES
from fewshot.files.leases import VARIABLE, leases_needed
from fewshot.files.locks import if_free
from protocols.environment import processor
from protocols.verification.duplicates import PROGRAM, describe_duplicates, running_home

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-image", "nibabel", "SimpleITK", "faiss-cpu")
LEAST_FREE = 5e9  # bytes: a ResNet-101 training keeps several checkpoints of 0.5 GB


def describe_installation(work: Path) -> list[str]:
    """Return the lines of `fewshot doctor` for this program, this machine and a work folder."""
    return [*_program(), *_machine(), *_work_folder(work)]


def _program() -> Iterator[str]:
    yield f"fewshot {importlib.metadata.version(PROGRAM)}, Python {platform.python_version()}"
    yield f"program: {running_home()}"
    known = {name: _version(name) for name in PACKAGES}
    yield "packages: " + ", ".join(f"{name} {version}" for name, version in known.items() if version)
    yield from describe_duplicates()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _machine() -> Iterator[str]:
    limit = os.environ.get("OMP_NUM_THREADS")
    threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
    yield f"processor: {processor()}, {threads}" + (f" (OMP_NUM_THREADS={limit})" if limit else "")
    how = "instructions" if has_bf16_instructions() else "float32 rounded to bf16, no faster than float32"
    yield f"bf16 on this processor: {how}"
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    built = (
        f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built for CPUs"
    )
    yield f"GPUs: {', '.join(names) or f'none that torch finds; {built}'}"


def _work_folder(work: Path) -> Iterator[str]:
    if not work.is_dir():
        yield f"work folder: {work} does not exist yet"
        return
    free = shutil.disk_usage(work).free
    writable = "" if os.access(work, os.W_OK) else ", read-only for this user"
    yield f"work folder: {work}, {free / 1e9:.1f} GB free{writable}"
    if free < LEAST_FREE:
        yield f"warning: less than {LEAST_FREE / 1e9:.0f} GB are free; a training may fill the disk"
    files = sorted({file for names in FILES.values() for file in names.values()})
    found = [file for file in files if (work / "weights" / file).is_file()]
    yield f"weights: {', '.join(found) or 'none'} of {len(files)} known files in {work / 'weights'}"
    locks = work / "locks"
    if locks.is_dir():
        kind = "leases" if leases_needed(locks) else "flock"
        yield f"locks: {kind}" + (f" ({VARIABLE}={os.environ[VARIABLE]})" if VARIABLE in os.environ else "")
    held = [path.name for path in sorted(locks.glob("*.lock")) if not _is_free(path)]
    yield f"locks held by running commands: {', '.join(held) or 'none'}"


def _is_free(path: Path) -> bool:
    with if_free(path) as free:
        return free
