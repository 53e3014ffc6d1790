"""Files of records: a `.json` file holds one record, a `.jsonl` file one record per line.

Every record holds a seal, the hash of its content (`fewshot/files/seals.py`). A run writes a cell's record to
`KEY-SEAL.json`, so a record that was edited or copied over another cell's file is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fewshot.base.errors import UserError
from fewshot.files.atomic_io import atomic_write, hash_of, json_text
from fewshot.files.input_files import parse_json, read_text
from fewshot.files.names import path_in
from fewshot.files.seals import SEAL, add_seal, check_seal, seal_of, write_sealed
from results.records.record import Record, checked_record

SUFFIXES = (".json", ".jsonl")
REMEDY = "delete it and run the cell again"
_CELL_FILE = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}")


class RecordText(NamedTuple):
    """The JSON text of a record; `source`: "FILE" or "FILE:LINE"; `name`: of a `.json` file, else None."""

    source: str
    text: str
    name: str | None = None


def cell_key(identity: Mapping[str, Any]) -> str:
    """Return the first 16 hex digits of the sha256 of a cell's identity."""
    return hash_of(identity)[:16]


def cell_file(folder: Path, key: str) -> Path | None:
    """Return the file of a cell's record in a folder, unread; None without one.

    Raises `UserError` if the folder holds several records of the cell.
    """
    pattern = path_in(folder, "cell", key, "*.json").name
    files = sorted(folder.glob(pattern)) if folder.is_dir() else []
    if len(files) > 1:
        names = " and ".join(path.name for path in files)
        raise UserError(f"{folder} holds {len(files)} records of cell {key}: {names}; delete all but one")
    return files[0] if files else None


def recorded_keys(folder: Path) -> frozenset[str]:
    """Return the keys of all cells with a record in a folder, by the names of the files, unread."""
    files = folder.glob("*.json") if folder.is_dir() else ()
    return frozenset(path.stem.partition("-")[0] for path in files)


def save_record(folder: Path, record: Record) -> Path:
    """Check a cell's record, write it atomically to `KEY-SEAL.json` in `folder`, and return the path.

    It replaces any other record of the cell.
    """
    assert record.key is not None
    content = checked_record(record, f"record of cell {record.key}").to_json()
    path = path_in(folder, "cell", f"{record.key}-{seal_of(content)}", ".json")
    with atomic_write(path) as stream:
        stream.write(json_text(add_seal(content)))
        stream.flush()
        os.fsync(stream.fileno())  # on the disk before an earlier record of the cell goes
        for other in folder.glob(f"{record.key}*.json"):
            other.unlink(missing_ok=True)
    return path


def write_record(path: Path, record: Record) -> None:
    """Check a record and write it, sealed, to any file; equal records give equal bytes."""
    write_sealed(path, checked_record(record, str(path)).to_json())


def read_record(path: Path) -> Record:
    """Return the record in a `.json` file; `UserError` if it is missing, broken, edited or inconsistent."""
    return parse_record(RecordText(str(path), _text(path), path.stem))


def read_records(folder: Path) -> list[Record]:
    """Return all records of a folder by file name, then line; raise `UserError` if it does not exist."""
    return [parse_record(text) for path in record_files(folder) for text in record_texts(path)]


def record_files(folder: Path) -> list[Path]:
    """Return the record files of a folder by name; raise `UserError` if the folder does not exist."""
    if not folder.is_dir():
        raise UserError(f"no folder of records at {folder}; run `fewshot run` first or give --records DIR")
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)


def record_texts(path: Path) -> Iterator[RecordText]:
    """Yield the text of every record in a file; raise `UserError` if it cannot be read."""
    text = _text(path)
    if path.suffix != ".jsonl":
        yield RecordText(str(path), text, path.stem)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line:
            yield RecordText(f"{path}:{number}", line)


def parse_record(text: RecordText, *, has_seal: bool = True) -> Record:
    """Return the record in a JSON text.

    Args:
        text: with its source, and the name of a file that holds this record alone.
        has_seal: whether seal and name are checked; without, for `fewshot doctor --seal`, the seal may lack.

    Raises:
        UserError: no JSON, no record, an edited record, or a file of another cell; the line begins with the
            source.
    """
    value = parse_json(text.text, text.source, f"expected a record: {REMEDY}")
    content = {key: item for key, item in value.items() if key != SEAL} if isinstance(value, dict) else value
    record = Record.from_json(content, text.source)  # its message says more than that of the seal
    if not has_seal:
        return record
    check_seal(value, text.source, REMEDY)
    if text.name is not None and (record.key is not None or _CELL_FILE.fullmatch(text.name)):
        expected = f"{record.key}-{seal_of(content)}"
        if text.name != expected:
            raise UserError(
                f"{text.source} holds the record {expected}: it was renamed, edited or copied over another "
                f"cell's file; {REMEDY}"
            )
    return record


def _text(path: Path) -> str:
    return read_text(path, f"expected a record: {REMEDY}")
