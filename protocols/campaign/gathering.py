"""Work of another folder, gathered by hash: what is missing here is copied, what differs is a conflict."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fewshot.base.atomic_io import copy_to, sha256_of
from fewshot.base.errors import UserError
from fewshot.base.locks import locked
from fewshot.training.log import LOSSES, last_step

LOGS = "logs"  # of a record; they follow it


@dataclass(frozen=True)
class Gathered:
    """What happened to one part of a work folder; conflicts and unfinished trainings in words."""

    part: str
    copied: int
    equal: int
    unfinished: tuple[str, ...]
    conflicts: tuple[str, ...]


def gather(source: Path, target: Path, parts: Sequence[str]) -> list[Gathered]:
    """Copy from one work folder into another; never overwrite.

    Args:
        source: the other work folder.
        target: this one.
        parts: some of records, models, backbones and predictions.

    Raises:
        UserError: a copy differs from its source, or a file cannot be read or written.
    """
    return [_gather_part(source, target, part) for part in parts]


def _gather_part(source: Path, target: Path, part: str) -> Gathered:
    copied, equal = 0, 0
    unfinished: list[str] = []
    conflicts: list[str] = []
    for theirs in _entries(source / part):
        ours = target / part / theirs.name
        if part in UNFINISHED and (why := UNFINISHED[part](theirs)) is not None:
            unfinished.append(f"{theirs.name} is left out: {why}")
            continue
        with locked(target / "locks" / f"{theirs.stem}.lock"):
            if not ours.exists():
                _copy(theirs, ours)
                copied += 1
            elif (difference := _difference(theirs, ours)) is None:
                equal += 1
            else:
                conflicts.append(f"CONFLICT {ours}: {difference}; this folder's stays")
        if part == "records":
            log, own = source / LOGS / theirs.name, target / LOGS / theirs.name
            if log.is_file() and ours.exists() and not own.exists():
                _copy(log, own)
    return Gathered(part, copied, equal, tuple(unfinished), tuple(conflicts))


def _entries(folder: Path) -> Iterator[Path]:
    """Yield the entries of a folder by name, without the temporary files of atomic writes."""
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _difference(theirs: Path, ours: Path) -> str | None:
    """Return in words what differs between two files or folders; None if their contents are equal."""
    if theirs.is_file() and ours.is_file():
        return None if sha256_of(theirs) == sha256_of(ours) else "other content"
    there, here = _files(theirs), _files(ours)
    for name in sorted(there.keys() | here.keys()):
        if name not in here:
            return f"{name} is missing here"
        if name not in there:
            return f"{name} is missing there"
        if sha256_of(there[name]) != sha256_of(here[name]):
            return f"{name} has other content"
    return None


def _copy(theirs: Path, ours: Path) -> None:
    """Copy a file or folder beside its place, compare the hashes, and rename it."""
    if theirs.is_file():
        copy_to(ours, theirs)
        _check(theirs, ours)
        return
    ours.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{ours.name}.", dir=ours.parent) as folder:
        place = Path(folder) / ours.name
        for name, file in _files(theirs).items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place / name)
            with (place / name).open("rb") as stream:
                os.fsync(stream.fileno())
            _check(file, place / name)
        place.rename(ours)


def _check(theirs: Path, copy: Path) -> None:
    if sha256_of(theirs) != sha256_of(copy):
        raise UserError(f"the copy of {theirs} differs from it: it was written meanwhile; sync again")


def _files(folder: Path) -> dict[str, Path]:
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def _unfinished_model(folder: Path) -> str | None:
    spec = folder / "spec.json"
    if not spec.is_file():
        return "it has no spec.json"
    steps = int(json.loads(spec.read_text(encoding="utf-8"))["recipe"]["steps"])
    step = last_step(folder / LOSSES)
    if step < steps or not (folder / "last.pt").is_file():
        return f"its training stands at step {step} of {steps}"
    return None


def _unfinished_backbone(folder: Path) -> str | None:
    return None if (folder / "backbone.pt").is_file() else "its training has not ended"


UNFINISHED: dict[str, Callable[[Path], str | None]] = {
    "models": _unfinished_model,
    "backbones": _unfinished_backbone,
}
