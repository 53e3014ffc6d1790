"""Facts of this installation and its work folder: versions, devices, threads, weights, locks, free space."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from fewshot.encoders.checkpoints import FILES
from fewshot.files.locks import if_free
from protocols.environment import processor

PROGRAM = "fewshot-medseg"
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-image", "nibabel", "SimpleITK", "faiss-cpu")


def describe_installation(work: Path) -> list[str]:
    """Return the lines of `fewshot doctor` for this program, this machine and a work folder."""
    return [*_program(), *_machine(), *_work_folder(work)]


def installed_twice() -> list[str]:
    """Return the folders of this program's installations if there are several, else an empty list."""
    found = importlib.metadata.distributions(name=PROGRAM)
    folders = sorted({str(Path(str(one.locate_file("."))).resolve()) for one in found})
    return folders if len(folders) > 1 else []


def _program() -> Iterator[str]:
    yield f"fewshot {importlib.metadata.version(PROGRAM)}, Python {platform.python_version()}"
    known = {name: _version(name) for name in PACKAGES}
    yield "packages: " + ", ".join(f"{name} {version}" for name, version in known.items() if version)
    twice = installed_twice()
    if twice:
        yield f"warning: installed {len(twice)} times: {', '.join(twice)}; keep one"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _machine() -> Iterator[str]:
    yield f"processor: {processor()}, {torch.get_num_threads()} threads"
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    yield f"GPUs: {', '.join(names) or 'none that torch finds'}"


def _work_folder(work: Path) -> Iterator[str]:
    if not work.is_dir():
        yield f"work folder: {work} does not exist yet"
        return
    free = shutil.disk_usage(work).free
    yield f"work folder: {work}, {free / 1e9:.1f} GB free"
    files = sorted({file for names in FILES.values() for file in names.values()})
    found = [file for file in files if (work / "weights" / file).is_file()]
    yield f"weights: {', '.join(found) or 'none'} of {len(files)} known files in {work / 'weights'}"
    held = [path.name for path in sorted((work / "locks").glob("*.lock")) if not _is_free(path)]
    yield f"locks held by running commands: {', '.join(held) or 'none'}"


def _is_free(path: Path) -> bool:
    with if_free(path) as free:
        return free
