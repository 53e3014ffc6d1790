"""A bad input: its name, the files it makes, the command line that reads them, and the expected refusal."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Base:
    """Sound inputs that every case may link to or copy; no case writes into them.

    `work`: a work folder with a store `tiny`, an untrained model, records and logs; `scans`: three pairs of
    image and label, with `my.toml`; `chaos`: a CHAOS download of 20 scans; `masks`: predictions for
    `plan.json`; `model`: the model's key; `weights`: a state_dict of the model as a file.
    """

    work: Path
    scans: Path
    chaos: Path
    masks: Path
    plan: Path
    model: str
    weights: Path
    record: Path


@dataclass(frozen=True)
class Case:
    """One named bad input.

    `make(folder, base)` writes its files into an empty folder and returns the command line. The command must
    end with one of `statuses`, and print `says` in its last line of error.
    """

    name: str
    make: Callable[[Path, Base], Sequence[str]]
    says: str = ""
    statuses: tuple[int, ...] = (2,)


def link_files(source: Path, target: Path, without: str = "") -> None:
    """Link every file of `source` into the new folder `target`, except the one named `without`."""
    target.mkdir(parents=True)
    for path in source.iterdir():
        if path.name != without:
            (target / path.name).symlink_to(path)


def own_work(folder: Path, base: Base, *names: str) -> Path:
    """Return a work folder in `folder` with copies of the named parts of the base's, links to the others."""
    work = folder / "work"
    work.mkdir()
    for path in base.work.iterdir():
        if path.name in names:
            shutil.copytree(path, work / path.name)
        elif path.name in ("stores", "models"):
            (work / path.name).symlink_to(path)
    return work
