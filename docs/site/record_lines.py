"""Puts records of a work folder into the JSON Lines files of results/data, a file for each method."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fewshot.files.atomic_io import atomic_write, canonical_json
from fewshot.files.names import path_in
from fewshot.files.seals import add_seal
from results.records.configuration import configuration_id
from results.records.files import parse_record, read_records, record_texts
from results.records.record import Record

Place = tuple[str, int, int, str]  # configuration, seed, fold, group


def add_records(source: Path, folder: Path) -> list[Path]:
    """Write every record of a folder to the file of its dataset, setting and method; return the files.

    A record replaces one of the same configuration, seed, fold and group. Other records of a file stay. The
    lines are sorted, so equal records give equal files.

    Args:
        source: a folder of records, such as WORK/records.
        folder: a folder of results/data.

    Raises:
        UserError: a record cannot be read.
    """
    by_file: dict[Path, list[Record]] = {}
    for record in read_records(source):
        name = f"{record.dataset.name}-setting{record.setting}-{record.method.name}"
        by_file.setdefault(path_in(folder, "file of records", name, ".jsonl"), []).append(record)
    for path, new in by_file.items():
        old = [parse_record(text) for text in record_texts(path)] if path.exists() else []
        with atomic_write(path) as stream:
            stream.writelines(lines_of([*old, *new]))
    return sorted(by_file)


def lines_of(records: Iterable[Record]) -> list[str]:
    """Return one sealed line per record, sorted; the last of equal places stays."""
    by_place = {place_of(record): record for record in records}
    return [f"{canonical_json(add_seal(by_place[place].to_json()))}\n" for place in sorted(by_place)]


def place_of(record: Record) -> Place:
    """Return the place of a record in a table."""
    return configuration_id(record), record.model.seed, record.fold, record.group
