"""Seals: hashes that show whether a JSON object or a binary file is still as this program wrote it.

A JSON object holds its own seal under the key `seal`: 16 hex digits of the sha256 of its other content. A
binary file NAME has a file `NAME.sha256` beside it, in the form of the program sha256sum. A seal shows a
fault or an edit by mistake; it is no signature.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewshot.base.errors import UserError, short
from fewshot.files.atomic_io import atomic_write, hash_of, sha256_of, write_json
from fewshot.files.input_files import read_json

SEAL = "seal"
SUFFIX = ".sha256"
OLDER = "of an earlier version of this program? `fewshot doctor --seal` checks and seals such a work folder"
_DIGEST = re.compile(r"[0-9a-f]{64}")


def seal_of(content: Mapping[str, Any]) -> str:
    """Return the 16 hex digits that seal a JSON object; its key `seal` is left out."""
    return hash_of({key: value for key, value in content.items() if key != SEAL})[:16]


def add_seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with its seal."""
    return {**content, SEAL: seal_of(content)}


def check_seal(content: Any, where: str, remedy: str) -> dict[str, Any]:
    """Return a JSON object without its seal.

    Args:
        content: the value of a JSON text.
        where: the file, or file and line, for messages.
        remedy: what the user can do about an edited object.

    Raises:
        UserError: no object, no seal, or a seal of another content.
    """
    if not isinstance(content, dict):
        raise UserError(f"{where} holds a {type(content).__name__}, expected a JSON object; {remedy}")
    if SEAL not in content:
        raise UserError(f"{where} has no seal: {OLDER}; else {remedy}")
    expected = seal_of(content)
    if content[SEAL] != expected:
        raise UserError(
            f"{where} was changed after it was written: its seal is {short(repr(content[SEAL]))}, its "
            f"content has {expected}; {remedy}"
        )
    return {key: value for key, value in content.items() if key != SEAL}


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object with its seal, atomically."""
    write_json(path, add_seal(content))


def read_sealed(path: Path, remedy: str) -> dict[str, Any]:
    """Return the JSON object in a file without its seal; errors as `read_json` and `check_seal`."""
    return check_seal(read_json(path, remedy), str(path), remedy)


def hash_file(path: Path) -> Path:
    """Return the path of the file that holds the hash of `path`."""
    return path.with_name(path.name + SUFFIX)


def write_hashed(path: Path, content: bytes | memoryview) -> None:
    """Write a binary file and the file of its hash.

    The file of the hash names the old and the new content while `path` changes, so a killed process leaves a
    pair that fits.
    """
    new = hashlib.sha256(content).hexdigest()
    known = _digests(hash_file(path)) if path.exists() and hash_file(path).exists() else []
    _write_digests(path, [*known, new])
    with atomic_write(path, "wb") as stream:
        stream.write(content)
    _write_digests(path, [new])


def check_hash(path: Path, remedy: str) -> None:
    """Raise `UserError` with `remedy` unless the bytes of `path` have the hash beside it."""
    if not hash_file(path).is_file():
        raise UserError(f"{path} has no {hash_file(path).name} beside it: {OLDER}; else {remedy}")
    known, found = _digests(hash_file(path)), sha256_of(path)
    if found not in known:
        raise UserError(
            f"{path} was changed after it was written: its sha256 begins with {found[:12]}, "
            f"{hash_file(path).name} says {', '.join(digest[:12] for digest in known) or 'nothing'}; {remedy}"
        )


def drop_old_hashes(path: Path) -> None:
    """Leave one hash beside `path`, that of its bytes; a process killed after a write leaves the old one too.

    Only the process that may write `path` may call this, after `check_hash`.
    """
    if len(_digests(hash_file(path))) > 1:
        _write_digests(path, [sha256_of(path)])


def _write_digests(path: Path, digests: list[str]) -> None:
    with atomic_write(hash_file(path)) as stream:
        stream.write("".join(f"{digest}  {path.name}\n" for digest in digests))


def _digests(file: Path) -> list[str]:
    """Return the hashes in a file of hashes, one a line; other text counts as no hash."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.split()[0] for line in lines if line.split() and _DIGEST.fullmatch(line.split()[0])]
