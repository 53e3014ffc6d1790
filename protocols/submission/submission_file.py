"""The file of a submission: one sealed JSON object with sealed records and a method card."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewshot.base.errors import UserError
from fewshot.files.atomic_io import canonical_json
from fewshot.files.seals import add_seal, read_sealed, write_sealed
from results.records.configuration import configuration_id
from results.records.files import RecordText, parse_record
from results.records.record import Record

FORMAT = 1
KEYS = {"submission", "program", "configuration", "card", "records"}
REMEDY = "pack it again with fewshot submit-result"


@dataclass(frozen=True)
class Submission:
    """The content of a submission's file; the records are valid, the card is unchecked.

    Attributes:
        configuration: the id that the file names.
        program: version of the program that packed it.
    """

    configuration: str
    program: str
    card: Any
    records: tuple[Record, ...]


def write_submission(path: Path, records: Sequence[Record], card: Any) -> None:
    """Write records and card into one sealed file; equal content gives equal bytes."""
    sealed = [add_seal(record.to_json()) for record in records]
    content = {
        "submission": FORMAT,
        "program": importlib.metadata.version("fewshot-medseg"),
        "configuration": configuration_id(records[0]),
        "card": card,
        "records": sorted(sealed, key=canonical_json),
    }
    write_sealed(path, content)


def read_submission(path: Path) -> tuple[Submission | None, list[str]]:
    """Return the content of a file, and a line for each fault: seals, format, records.

    A file that cannot be read as a submission gives None and one line. A bad record is left out and named.
    """
    try:
        content = read_sealed(path, REMEDY)
    except UserError as error:
        return None, [str(error)]
    if content.get("submission") != FORMAT or set(content) != KEYS:
        return None, [
            f"{path} has keys {', '.join(sorted(content))} and format {content.get('submission')!r}, "
            f"expected {', '.join(sorted(KEYS))} and {FORMAT}; {REMEDY}"
        ]
    if not isinstance(content["records"], list) or not content["records"]:
        return None, [f"{path} holds no list of records, expected the records of one configuration; {REMEDY}"]
    records, faults = [], []
    for number, value in enumerate(content["records"]):
        try:
            records.append(parse_record(RecordText(f"{path}: records[{number}]", canonical_json(value))))
        except UserError as error:
            faults.append(str(error))
    program, configuration = str(content["program"]), str(content["configuration"])
    return Submission(configuration, program, content["card"], tuple(records)), faults
