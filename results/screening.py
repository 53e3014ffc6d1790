"""Records sorted into those that may be used and those that may not, each of the latter with its reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewshot.errors import UserError
from fewshot.files import canonical_json
from results.blocks import configuration, remedy, same_result
from results.records import Record, read_record

MARKUP = re.compile(r"[<>\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Screened:
    """The sound records of some folders, by folder and file name, and a line per bad one."""

    records: tuple[Record, ...]
    faults: tuple[str, ...]
    paths: Mapping[str, Path]  # canonical JSON of a record -> its file


def screen(folders: Sequence[Path]) -> Screened:
    """Read every record (`*.json`) of folders; a missing folder, or no file at all, is a `UserError`.

    Bad are: a file that is no JSON or cut off, a form or schema other than ours, a ratio that contradicts its
    counts, a text with markup, and all records of one cell that differ in more than their environment.
    """
    found: list[tuple[Path, Record]] = []
    faults = []
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"no folder of records at {folder}; give --records DIR, or `fewshot run` first")
        for path in sorted(folder.glob("*.json")):
            try:
                record = read_record(path)
            except UserError as error:
                faults.append(str(error))
                continue
            where = next(_marked_up(record), None)
            if where is None:
                found.append((path, record))
            else:
                faults.append(f"{path}: {where} holds markup or control characters, wanted plain text")
    if not found and not faults:
        places = ", ".join(map(str, folders))
        raise UserError(f"no records in {places}; run `fewshot run` first or give --records DIR")
    kept, doubles = _without_contradictions(found)
    paths = {canonical_json(record): path for path, record in reversed(found)}
    return Screened(tuple(kept), (*faults, *doubles), paths)


def _marked_up(value: Any, where: str = "") -> Iterator[str]:
    """Yield the place of every text with markup, keys of objects included."""
    if isinstance(value, dict):
        for key, item in value.items():
            name = f"{where}.{key}" if where else key
            if MARKUP.search(key):
                yield f"a key of {where or 'the record'}"
            yield from _marked_up(item, name)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _marked_up(item, f"{where}[{number}]")
    elif isinstance(value, str) and MARKUP.search(value):
        yield where


def _without_contradictions(found: Iterable[tuple[Path, Record]]) -> tuple[list[Record], list[str]]:
    """Return one record per cell, and a line for each cell whose records differ: none of those is kept."""
    cells: dict[str, list[tuple[Path, Record]]] = {}
    for path, record in found:
        key = canonical_json([configuration(record), record["fold"], record["group"]])
        cells.setdefault(key, []).append((path, record))
    kept, faults = [], []
    for some in cells.values():
        first = some[0][1]
        if all(same_result(first, other) for _path, other in some[1:]):
            kept.append(first)
            continue
        names = " and ".join(str(path) for path, _record in some)
        faults.append(
            f"{names}: two different records of {first['method']['name']}, {first['dataset']['name']} "
            f"setting {first['setting']}, fold {first['fold']}, group {first['group']}; "
            f"{remedy([record for _path, record in some])}"
        )
    return kept, faults
