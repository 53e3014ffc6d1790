"""Sentences of pictures in an Excel workbook with the columns Image and Description."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

from fewshot.base.errors import UserError, listed

COLUMNS = ("Image", "Description")


def read_sentences(path: Path) -> dict[str, str]:
    """Return picture or mask name, as written -> its sentence, in the order of the rows.

    Raises:
        UserError: the file is no workbook, has other columns, no row, an empty cell or a name twice; or
            openpyxl is missing.
    """
    import pandas as pd

    try:
        table = pd.read_excel(path, engine="openpyxl", dtype=str, na_filter=False)
    except ImportError:
        raise UserError(
            f"{path} is an Excel workbook, which needs openpyxl; install fewshot-medseg[sentences]"
        ) from None
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise UserError(
            f"{path} is no Excel workbook ({type(error).__name__}); save it as .xlsx again"
        ) from None
    columns = tuple(str(name) for name in table.columns)
    if columns != COLUMNS:
        raise UserError(
            f"{path} has the columns {listed(columns) or 'none'}, expected Image and Description; rename them"
        )
    if table.empty:
        raise UserError(f"{path} has no row, expected a sentence for each picture; fill it in")
    sentences: dict[str, str] = {}
    for name, sentence in zip(table["Image"], table["Description"], strict=True):
        if not str(name).strip() or not str(sentence).strip():
            place = len(sentences) + 2
            raise UserError(
                f"{path}: row {place} has an empty cell, expected a name and a sentence; fill it in"
            )
        if name in sentences:
            raise UserError(f"{path}: {name} has two sentences, expected one; take one out")
        sentences[name] = sentence.strip()
    return sentences
