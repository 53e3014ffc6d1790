"""The log of a training, one line per step: losses.csv and episodes.jsonl, truncated when it resumes."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from fewshot.base.errors import UserError

LOSSES = "losses.csv"
EPISODES = "episodes.jsonl"


class TrainingLog:
    """Append one line per step to `folder`/losses.csv and `folder`/episodes.jsonl.

    losses.csv has the columns step, the parts of the loss, total, rate (the step's learning rate) and defined
    (1, or 0 for a skipped step). The losses of a skipped step are blank, and so is a part that is NaN.
    episodes.jsonl has the step and the episode's label. `marks` are both files' sizes in bytes at the last
    checkpoint. Later lines are removed first, so a resumed training writes no line twice.
    """

    def __init__(self, folder: Path, marks: Mapping[str, int]) -> None:
        self._folder = folder
        self._streams: dict[str, IO[bytes]] = {}
        for name in (LOSSES, EPISODES):
            _cut_back(folder / name, marks.get(name, 0))
        for name in (LOSSES, EPISODES):
            self._streams[name] = (folder / name).open("ab", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in self._streams.values():
            stream.close()

    def add(
        self, step: int, parts: Mapping[str, float], total: float, rate: float, defined: bool, label: str
    ) -> None:
        """Append the line of a step; `step` counts from 1. Raises `UserError` if the disk is full."""
        if self._streams[LOSSES].tell() == 0:
            self._write(LOSSES, ",".join(["step", *parts, "total", "rate", "defined"]))
        losses = [
            repr(value) if defined and not math.isnan(value) else "" for value in (*parts.values(), total)
        ]
        self._write(LOSSES, ",".join([str(step), *losses, repr(rate), str(int(defined))]))
        self._write(EPISODES, json.dumps({"step": step, "episode": label}))

    def marks(self) -> dict[str, int]:
        """Flush every line to the disk and return the files' sizes in bytes."""
        for stream in self._streams.values():
            os.fsync(stream.fileno())
        return {name: stream.tell() for name, stream in self._streams.items()}

    def _write(self, name: str, line: str) -> None:
        """Append a line; a resumed training removes the partial line that a full disk leaves."""
        try:
            text = line.encode() + b"\n"
            if self._streams[name].write(text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise UserError(
                f"cannot write {self._folder / name}: {error.strerror or error}; free space and run the same "
                "command again"
            ) from error


def last_step(file: Path) -> int:
    """Return the step of the last complete line of a losses.csv; 0 if there is no such line."""
    if not file.is_file():
        return 0
    with file.open("rb") as stream:
        header = stream.readline().decode().strip().split(",")
        stream.seek(max(0, stream.seek(0, 2) - 4096))
        lines = stream.read().decode(errors="replace").splitlines()
    for line in reversed(lines):
        values = next(csv.reader([line]), [])
        if len(values) == len(header) and values[0].isdecimal():
            return int(values[0])
    return 0


def _cut_back(path: Path, size: int) -> None:
    found = path.stat().st_size if path.exists() else 0
    if found < size:
        raise UserError(
            f"{path} has {found} bytes, expected the {size} it had at the last checkpoint; "
            f"delete {path.parent / 'last.pt'} to train anew"
        )
    if found > size:
        os.truncate(path, size)
