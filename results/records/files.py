"""Files of records: one record in a `.json` file, as runs write them, or one a line in a `.jsonl` file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fewshot.base.atomic_io import hash_of, write_json
from fewshot.base.errors import UserError
from results.records.record import Record, checked_record

SUFFIXES = (".json", ".jsonl")


def cell_key(identity: Mapping[str, Any]) -> str:
    """Return the first 16 hex digits of the sha256 of what tells one cell from all others."""
    return hash_of(identity)[:16]


def write_record(path: Path, record: Record) -> None:
    """Check and write a record, whole or not at all; equal records give equal bytes."""
    write_json(path, checked_record(record, str(path)).to_json())


def read_record(path: Path) -> Record:
    """Return the record in a `.json` file; a missing, broken or inconsistent one is a `UserError`."""
    return parse_record(_text(path), str(path))


def read_records(folder: Path) -> list[Record]:
    """Return all records of a folder, by file name, then line; a missing folder is a `UserError`."""
    return [
        parse_record(text, source) for path in record_files(folder) for source, text in record_texts(path)
    ]


def record_files(folder: Path) -> list[Path]:
    """Return the files of records in a folder, by name; a missing folder is a `UserError`."""
    if not folder.is_dir():
        raise UserError(f"no folder of records at {folder}; run `fewshot run` first or give --records DIR")
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)


def record_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place and JSON text of every record in a file: "FILE", or "FILE:LINE" in a `.jsonl` file.

    Raises `UserError` for a file that cannot be read.
    """
    text = _text(path)
    if path.suffix != ".jsonl":
        yield str(path), text
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line:
            yield f"{path}:{number}", line


def parse_record(text: str, source: str) -> Record:
    """Return the record in a JSON text; `UserError` beginning with `source` where it holds none."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise UserError(f"{source}: not a JSON record ({error}); delete it and run the cell again") from None
    return Record.from_json(value, source)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read record {path}: {error.strerror}; give an existing file") from None
    except ValueError as error:
        raise UserError(f"{path}: not a JSON record ({error}); delete it and run the cell again") from None


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number a record may hold")
