"""Pictures with masks and sentences: the published layout, and one line for each bad input."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from episodes.prepare.picture_sets.with_sentences import find_with_sentences, has_parts
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.commands.main import main


def part(folder: Path, name: str, scans: Sequence[str], mask: str = "") -> Path:
    """Write a part of the layout and return its workbook."""
    for kind in ("img", "labelcol"):
        (folder / name / kind).mkdir(parents=True)
    for number, scan in enumerate(scans):
        pixels = np.full((24, 24), 40 + number, dtype=np.uint8)
        pixels[4:12, 4:12] = 200
        Image.fromarray(pixels).save(folder / name / "img" / f"{scan}.png")
        shown = ((pixels == 200) * 255).astype(np.uint8)
        Image.fromarray(shown).save(folder / name / "labelcol" / f"{mask}{scan}.png")
    rows = [(f"{mask}{scan}.png", f"Cells of {scan}.") for scan in scans]
    return write_book(folder / name / f"{name.removesuffix('_Folder')}_text.xlsx", rows)


def write_book(
    path: Path, rows: list[tuple[str, str]], columns: Sequence[str] = ("Image", "Description")
) -> Path:
    pd.DataFrame(rows, columns=list(columns)).to_excel(path, index=False)
    return path


def test_parts_become_folds_with_sentences(tmp_path: Path) -> None:
    part(tmp_path / "raw", "Train_Folder", ["covid_1", "covid_2"], "mask_")
    part(tmp_path / "raw", "Test_Folder", ["covid_3"], "mask_")
    assert has_parts(tmp_path / "raw")
    work = ["--work", str(tmp_path / "work")]
    assert main(["prepare", "qata-cov19", str(tmp_path / "raw"), *work]) == 0
    store = Store.open(tmp_path / "work" / "stores" / "qata-cov19")
    assert store.has_sentences and store.spec.fold_borders == (0, 2, 3)
    assert store.scan("covid_3").sentences == ("Cells of covid_3.",)
    assert store.scan("covid_3").labels.any()
    assert main(["prepare", "qata-cov19", str(tmp_path / "raw"), *work]) == 0
    write_book(tmp_path / "raw" / "Test_Folder" / "Test_text.xlsx", [("mask_covid_3.png", "Other.")])
    assert main(["prepare", "qata-cov19", str(tmp_path / "raw"), *work]) == 2
    assert main(["prepare", "qata-cov19", str(tmp_path / "raw"), *work, "--overwrite"]) == 0
    assert Store.open(store.path).hash != store.hash


BAD = {
    "picture": ([("a.png", "A.")], None, "b.png has no sentence"),
    "sentence": (
        [("a.png", "A."), ("b.png", "B."), ("c.png", "C.")],
        None,
        "c.png has a sentence and no picture",
    ),
    "columns": ([("a.png", "A.")], ("Name", "Text"), "columns Name, Text, expected Image and Description"),
    "empty": ([], None, "has no row"),
    "cell": ([("a.png", "A."), ("b.png", "")], None, "row 3 has an empty cell"),
    "twice": ([("a.png", "A."), ("a.png", "B.")], None, "two sentences"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_workbooks_have_one_line(tmp_path: Path, kind: str) -> None:
    rows, columns, line = BAD[kind]
    book = part(tmp_path, "Train_Folder", ["a", "b"])
    write_book(book, rows, columns or ("Image", "Description"))
    with pytest.raises(UserError, match=re.escape(line)) as found:
        find_with_sentences(tmp_path)
    assert "\n" not in str(found.value)


def test_missing_files_have_one_line(tmp_path: Path) -> None:
    book = part(tmp_path, "Train_Folder", ["a", "b"])
    book.write_bytes(b"no workbook")
    with pytest.raises(UserError, match="is no Excel workbook"):
        find_with_sentences(tmp_path)
    book.unlink()
    with pytest.raises(UserError, match="has no Train_text"):
        find_with_sentences(tmp_path)
    (tmp_path / "Train_Folder" / "labelcol" / "a.png").unlink()
    write_book(book, [("a.png", "A."), ("b.png", "B.")])
    with pytest.raises(UserError, match="has no mask"):
        find_with_sentences(tmp_path)
