"""Work of another folder, gathered by hash: what is missing here is copied, what differs is a conflict."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from fewshot.base.errors import UserError
from fewshot.files.atomic_io import atomic_folder, copy_to, sha256_of
from fewshot.files.locks import locked
from fewshot.training.log import LOSSES, last_step
from protocols.cells.evaluate_cells import cells_locked
from protocols.training.models import LAST
from protocols.training.pretraining import BACKBONE
from protocols.training.spec_file import FILE, read_backbone_spec, read_model_spec
from results.records.files import cell_file, read_record

RECORDS = "records"
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
        if part in UNFINISHED and (why := UNFINISHED[part](theirs)) is not None:
            unfinished.append(f"{theirs.name} is left out: {why}")
            continue
        key = _record_key(theirs) if part == RECORDS else theirs.stem
        with _part_locked(target, part, key):
            ours = target / part / theirs.name
            if part == RECORDS:
                ours = cell_file(ours.parent, key) or ours
            if not ours.exists():
                _copy(theirs, ours)
                copied += 1
            elif (difference := _difference(theirs, ours)) is None:
                equal += 1
            else:
                conflicts.append(f"CONFLICT {ours}: {difference}; this folder's stays")
            log, own = source / LOGS / f"{key}.json", target / LOGS / f"{key}.json"
            if part == RECORDS and log.is_file() and not own.exists():
                _copy(log, own)
    return Gathered(part, copied, equal, tuple(unfinished), tuple(conflicts))


def _record_key(file: Path) -> str:
    """Return the key of the cell of a record; raise `UserError` for a record that was edited or renamed."""
    return read_record(file).key or file.stem


def _part_locked(work: Path, part: str, key: str) -> AbstractContextManager[object]:
    """Hold the lock that a run holds while it writes this cell, model or backbone."""
    if part in (RECORDS, "predictions"):
        return cells_locked(work, [key])
    return locked(work / "locks" / f"{key}.lock")


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
    with atomic_folder(ours) as place:
        for name, file in _files(theirs).items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place / name)
            with (place / name).open("rb") as stream:
                os.fsync(stream.fileno())
            _check(file, place / name)


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
    """Return why a training is no finished model, in words; `UserError` if its spec was changed."""
    if not (folder / FILE).is_file():
        return f"it has no {FILE}"
    steps = int(read_model_spec(folder)["recipe"]["steps"])
    step = last_step(folder / LOSSES)
    if step < steps or not (folder / LAST).is_file():
        return f"its training stands at step {step} of {steps}"
    return None


def _unfinished_backbone(folder: Path) -> str | None:
    if not (folder / BACKBONE).is_file():
        return "its training has not ended"
    read_backbone_spec(folder)
    return None


UNFINISHED: dict[str, Callable[[Path], str | None]] = {
    "models": _unfinished_model,
    "backbones": _unfinished_backbone,
}
