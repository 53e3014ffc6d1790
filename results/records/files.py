"""Files of records: a `.json` file holds one record, a `.jsonl` file one record per line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fewshot.base.atomic_io import hash_of, write_json
from fewshot.base.errors import UserError
from fewshot.base.input_files import parse_json, read_text
from results.records.record import Record, checked_record

SUFFIXES = (".json", ".jsonl")


def cell_key(identity: Mapping[str, Any]) -> str:
    """Return the first 16 hex digits of the sha256 of a cell's identity."""
    return hash_of(identity)[:16]


def write_record(path: Path, record: Record) -> None:
    """Check a record and write it atomically; equal records give equal bytes."""
    write_json(path, checked_record(record, str(path)).to_json())


def read_record(path: Path) -> Record:
    """Return the record in a `.json` file; raise `UserError` if it is missing, broken or inconsistent."""
    return parse_record(_text(path), str(path))


def read_records(folder: Path) -> list[Record]:
    """Return all records of a folder by file name, then line; raise `UserError` if it does not exist."""
    return [
        parse_record(text, source) for path in record_files(folder) for source, text in record_texts(path)
    ]


def record_files(folder: Path) -> list[Path]:
    """Return the record files of a folder by name; raise `UserError` if the folder does not exist."""
    if not folder.is_dir():
        raise UserError(f"no folder of records at {folder}; run `fewshot run` first or give --records DIR")
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)


def record_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (source, JSON text) of every record in a file; raise `UserError` if it cannot be read.

    The source is "FILE", or "FILE:LINE" in a `.jsonl` file.
    """
    text = _text(path)
    if path.suffix != ".jsonl":
        yield str(path), text
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line:
            yield f"{path}:{number}", line


def parse_record(text: str, source: str) -> Record:
    """Return the record in a JSON text; raise `UserError`, prefixed with `source`, if it is no record."""
    value = parse_json(text, source, "expected a record: delete it and run the cell again")
    return Record.from_json(value, source)


def _text(path: Path) -> str:
    return read_text(path, "expected a record: delete it and run the cell again")
