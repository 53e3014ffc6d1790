"""CSV for spreadsheets: no text from a name is read as a formula."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import IO, Any

from fewshot.base.errors import plain_text

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet computes a cell that begins with one of them


class SheetWriter:
    """Writes rows as CSV with line feeds; a text that looks like a formula gets an apostrophe in front."""

    def __init__(self, stream: IO[str]) -> None:
        self._writer = csv.writer(stream, lineterminator="\n")

    def writerow(self, cells: Iterable[Any]) -> None:
        """Write one row."""
        self._writer.writerow([_cell(cell) for cell in cells])

    def writerows(self, rows: Iterable[Iterable[Any]]) -> None:
        """Write each of the rows."""
        for row in rows:
            self.writerow(row)


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = plain_text(value)
    return f"'{text}" if text.startswith(FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
