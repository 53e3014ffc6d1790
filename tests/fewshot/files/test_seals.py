"""Seals of JSON objects and hashes of files: what changed is found, and a kill leaves a pair that fits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fewshot.base.errors import UserError
from fewshot.files import seals
from fewshot.files.seals import (
    add_seal,
    check_hash,
    check_seal,
    hash_file,
    read_sealed,
    seal_of,
    write_hashed,
    write_sealed,
)

CONTENT = {"name": "tiny", "scans": [1, 2], "mean": 0.1}


def test_a_sealed_object_reads_back_and_its_seal_is_that_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_sealed(path, CONTENT)
    assert read_sealed(path, "") == CONTENT
    content = json.loads(path.read_text())
    assert content["seal"] == seal_of(CONTENT) == seal_of(content) and len(content["seal"]) == 16


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda text: text.replace("0.1", "0.2"), "was changed after it was written: its seal is"),
        (lambda text: text.replace('"tiny"', '"tin"'), "was changed"),
        (lambda text: text.replace('"name"', '"named"'), "was changed"),
        (lambda text: text[: len(text) // 2], "x.json: not JSON"),
        (lambda text: text.replace('"seal"', '"zeal"'), "has no seal: .*fewshot doctor --seal"),
        (lambda _text: "[1]", "holds a list, expected a JSON object"),
        (lambda text: text.replace('"name"', '"mean"'), "'mean' stands there twice"),
    ],
)
def test_an_edited_object_is_one_line_with_the_remedy(
    tmp_path: Path, change: Callable[[str], str], fault: str
) -> None:
    path = tmp_path / "x.json"
    write_sealed(path, CONTENT)
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError, match=fault) as caught:
        read_sealed(path, "make it again")
    assert "make it again" in str(caught.value) and "\n" not in str(caught.value)


def test_spaces_and_order_are_no_content() -> None:
    text = json.dumps(dict(reversed(add_seal(CONTENT).items())), indent=7)
    assert check_seal(json.loads(text), "x", "") == CONTENT


def test_the_file_of_a_hash_is_that_of_sha256sum(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    write_hashed(path, b"weights")
    assert hash_file(path).read_text() == f"{hashlib.sha256(b'weights').hexdigest()}  last.pt\n"
    check_hash(path, "")


@pytest.mark.parametrize("place", [0, 3, 6])
def test_one_flipped_bit_is_found(tmp_path: Path, place: int) -> None:
    path = tmp_path / "last.pt"
    write_hashed(path, b"weights")
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"changed after it was written.*; train again"):
        check_hash(path, "train again")


def test_a_file_without_hash_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(b"weights")
    with pytest.raises(UserError, match=r"has no last.pt.sha256 beside it: .* doctor --seal"):
        check_hash(tmp_path / "last.pt", "")
    hash_file(tmp_path / "last.pt").write_text("no hash\n")
    with pytest.raises(UserError, match="says nothing"):
        check_hash(tmp_path / "last.pt", "")


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_writer_killed_anywhere_leaves_a_file_that_fits_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """Of the three files that a second write puts in place, only the first `written` arrive."""
    path = tmp_path / "last.pt"
    write_hashed(path, b"old")
    whole, count = seals.atomic_write, [0]

    def write_or_die(target: Path, *mode: str):  # type: ignore[no-untyped-def]
        if count[0] == written:
            raise KeyboardInterrupt
        count[0] += 1
        return whole(target, *mode)

    monkeypatch.setattr(seals, "atomic_write", write_or_die)
    with pytest.raises(KeyboardInterrupt):
        write_hashed(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == (b"old" if written < 2 else b"new")
    check_hash(path, "")
    write_hashed(path, b"newer")
    check_hash(path, "")
    assert len(hash_file(path).read_text().splitlines()) == 1
