"""No output may replace an input: the files that a command line names, and what WORK holds."""

from __future__ import annotations

import argparse
import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fewshot.base.errors import UserError

OUTPUTS = ("out", "picture", "save_config")
KEPT = (  # folders under WORK whose files are read again
    "stores", "records", "models", "backbones", "predictions", "weights", "cache", "distances", "locks",
    "logs", "runs",
)  # fmt: skip
NAMES_A_FOLDER = {"checkpoint": "spec.json", "store": "index.json"}  # texts that may name such a folder


def check_outputs(arguments: argparse.Namespace) -> None:
    """Raise `UserError` if an output option names an input, another output, or a file of the work folder.

    Two names are of one file if they lead to the same inode: links, hard links and other spellings count.
    """
    values = vars(arguments)
    outputs = [(name, Path(values[name])) for name in OUTPUTS if values.get(name) is not None]
    inputs = [
        (name, path) for name, value in values.items()
        if name not in (*OUTPUTS, "work", "typed")
        for path in _files(name, value)
    ]  # fmt: skip
    for number, (name, out) in enumerate(outputs):
        flag = f"--{name.replace('_', '-')} {out}"
        _check_apart_from_work(flag, out, arguments.work)
        places = _written(out)
        for other, path in outputs[:number]:
            if path.resolve() == out.resolve() or any(_is_same(place, path) for place in places):
                raise UserError(f"{flag} is also --{other.replace('_', '-')}; give two files")
        for place in places:
            for _name, path in inputs:
                found = _file_of(place, path)
                if found is not None:
                    raise UserError(
                        f"{flag} is the input {found}, which it would replace; give the output another name"
                    )


def _written(out: Path) -> list[Path]:
    """Return the existing plain files that an output names; a part in braces stands for any text."""
    if "{" not in str(out):
        return [out] if out.is_file() else []
    pattern = "".join("*" if part.startswith("{") else glob.escape(part) for part in _parts(str(out)))
    return [path for path in map(Path, sorted(glob.glob(pattern))) if path.is_file()]  # noqa: PTH207


def _parts(text: str) -> Iterator[str]:
    """Yield the parts of a pattern: text, {name}, text, ..."""
    while text:
        before, brace, rest = text.partition("{")
        name, end, after = rest.partition("}")
        if not (brace and end):
            yield text
            return
        yield from (part for part in (before, f"{{{name}}}") if part)
        text = after


def _files(name: str, value: Any) -> Iterator[Path]:
    """Yield the existing files, and the folders of files, that an argument names."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _files(name, item)
    elif isinstance(value, Path):
        yield from (path for path in (value,) if path.exists())
    elif isinstance(value, str) and value:
        for text in {value, value.partition("=")[2], value.rpartition(":")[0]} - {""}:
            path = Path(text)
            if "\0" in text or len(os.fsencode(text)) > 4000:
                continue
            if "{" in text:
                yield from _written(path)
            elif path.is_file() or (name in NAMES_A_FOLDER and (path / NAMES_A_FOLDER[name]).is_file()):
                yield path


def _file_of(place: Path, source: Path) -> Path | None:
    """Return the file of `source`, a file or a folder, that is the same as `place`; None without one."""
    if source.is_file():
        return source if _is_same(place, source) else None
    if not source.is_dir():
        return None
    inside = place.resolve()
    if source.resolve() in inside.parents:
        return inside
    if place.stat().st_nlink == 1:
        return None
    return next((path for path in source.rglob("*") if path.is_file() and _is_same(place, path)), None)


def _is_same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return False


def _check_apart_from_work(flag: str, out: Path, work: Path) -> None:
    """Raise `UserError` if `out` lies in a folder of WORK that the program reads, but for new weights."""
    place = out.resolve()
    for name in KEPT:
        folder = (work / name).resolve()
        if folder in (place, *place.parents) and (name != "weights" or place.exists()):
            raise UserError(
                f"{flag} lies in {work / name}, which the program keeps and reads; choose another folder"
            )
