"""Screening of records: the sound ones, and a reason for every other one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewshot.base.errors import HIDDEN, UserError
from fewshot.files.atomic_io import canonical_json
from results.records.configuration import configuration, has_same_result
from results.records.files import parse_record, record_files, record_texts
from results.records.record import Record
from results.summary.configuration_result import contradiction_remedy

MARKUP = re.compile(f"[<>\\t\\n]|{HIDDEN.pattern}")


@dataclass(frozen=True)
class ScreenedRecords:
    """The sound records of folders, in the order of folder, file name and line, and a fault per bad one."""

    records: tuple[Record, ...]
    faults: tuple[str, ...]
    paths: Mapping[str, Path]  # `record_text` -> `.json` file; records of a `.jsonl` file have no path


def record_text(record: Record) -> str:
    """Return the canonical JSON of a record: equal records have equal texts."""
    return canonical_json(record.to_json())


def screen_records(folders: Sequence[Path]) -> ScreenedRecords:
    """Read and check every record (`*.json`, `*.jsonl`) of folders.

    A record is bad if it is no JSON or truncated, breaks the schema, holds a ratio that contradicts its
    counts, holds a text with markup, or contradicts another record of its cell (then both are bad).

    Raises:
        UserError: a folder is missing, or the folders hold no record.
    """
    found: list[tuple[str, Record]] = []
    faults = []
    paths: dict[str, Path] = {}
    for path in (path for folder in folders for path in record_files(folder)):
        try:
            texts = list(record_texts(path))
        except UserError as error:
            faults.append(str(error))
            continue
        for text in texts:
            source = text.source
            try:
                record = parse_record(text)
            except UserError as error:
                faults.append(str(error))
                continue
            where = next(places_of_markup(record.to_json()), None)
            if where is not None:
                faults.append(f"{source}: {where} holds markup or control characters, expected plain text")
                continue
            found.append((source, record))
            if path.suffix == ".json":
                paths.setdefault(record_text(record), path)
    if not found and not faults:
        places = ", ".join(map(str, folders))
        raise UserError(f"no records in {places}; run `fewshot run` first or give --records DIR")
    kept, doubles = _without_contradictions(found)
    return ScreenedRecords(tuple(kept), (*faults, *doubles), paths)


def places_of_markup(value: Any, where: str = "") -> Iterator[str]:
    """Yield the path of every text with markup in a JSON value, keys included."""
    if isinstance(value, dict):
        for key, item in value.items():
            name = f"{where}.{key}" if where else key
            if MARKUP.search(key):
                yield f"a key of {where or 'the record'}"
            yield from places_of_markup(item, name)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from places_of_markup(item, f"{where}[{number}]")
    elif isinstance(value, str) and MARKUP.search(value):
        yield where


def _without_contradictions(
    sources_and_records: Iterable[tuple[str, Record]],
) -> tuple[list[Record], list[str]]:
    """Return one record per cell, and a fault for each cell whose records differ; those are all left out."""
    cells: dict[str, list[tuple[str, Record]]] = {}
    for source, record in sources_and_records:
        key = canonical_json([configuration(record), record.fold, record.group])
        cells.setdefault(key, []).append((source, record))
    kept, faults = [], []
    for copies in cells.values():
        first = copies[0][1]
        if all(has_same_result(first, other) for _source, other in copies[1:]):
            kept.append(first)
            continue
        names = " and ".join(source for source, _record in copies)
        faults.append(
            f"{names}: two different records of {first.method.name}, {first.dataset.name} "
            f"setting {first.setting}, fold {first.fold}, group {first.group}; "
            f"{contradiction_remedy([record for _source, record in copies])}"
        )
    return kept, faults
