"""Input files: what a file is by its first bytes, and the text, JSON and TOML in it, read within limits."""

from __future__ import annotations

import codecs
import errno
import json
import stat
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from fewshot.base.errors import UserError, short

MOST_TEXT = 1 << 30  # bytes of a text file
MOST_TOML = 1 << 18
MOST_TOML_LINE = 4096  # the parser's time grows with the square of the dots in a key
# first bytes -> what the file is
BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"/annex/objects/", "a pointer of git-annex (fetch the content with: git annex get)"),
    (b"version https://git-lfs", "a pointer of Git LFS (fetch the content with: git lfs pull)"),
    (b"\x00\x05\x16\x07", "a ._ file of macOS without content"),
    (b"\x1f\x8b", "a gzip file"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"%PDF", "a PDF document"),
    (b"\x89HDF", "an HDF5 file"),
    (b"MATLAB", "a MATLAB file"),
    (b"NRRD", "an NRRD file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"SQLite", "an SQLite database"),
    (b"\x7fELF", "a program"),
    (codecs.BOM_UTF16_LE, "text in UTF-16"),
    (codecs.BOM_UTF16_BE, "text in UTF-16"),
)


def file_kind(path: Path) -> str:
    """Return what a regular file is, by its first bytes; "a file of another kind" if they are unknown."""
    with path.open("rb") as stream:
        return kind_of_bytes(stream.read(1024))


def kind_of_bytes(beginning: bytes) -> str:
    """Return what a file with these first bytes (up to 1024) is."""
    if not beginning:
        return "an empty file"
    for magic, kind in BEGINNINGS:
        if beginning.startswith(magic):
            return kind
    if beginning[128:132] == b"DICM":
        return "a DICOM file"
    if beginning[344:347] in (b"n+1", b"ni1") or beginning[4:7] in (b"n+2", b"ni2"):
        return "a NIfTI file"
    if beginning[8:10] == b'{"':
        return "a safetensors file"
    if beginning[257:262] == b"ustar":
        return "a tar archive"
    if not any(beginning):
        return "a file of zeros"
    text = beginning.removeprefix(codecs.BOM_UTF8)
    try:
        start = text.decode("utf-8", "strict" if len(text) < 1000 else "ignore").lstrip().lower()
    except UnicodeDecodeError:
        return "a file of another kind"
    if start.startswith(("<!doctype html", "<html")) or "<html" in start[:300]:
        return "an HTML page, such as the login or error page of a download"
    if start.startswith("<?xml"):
        return "an XML file"
    printable = all(letter.isprintable() or letter.isspace() for letter in start)
    return "a text file" if printable else "a file of another kind"


def check_file(path: Path, remedy: str = "check the folder and the file's name") -> int:
    """Return the size in bytes of a regular file that can be opened.

    Args:
        path: the file; a link is followed.
        remedy: what the user can do, for messages.

    Raises:
        UserError: the file is missing, a link to nothing, a folder, a pipe or a device.
    """
    try:
        state = path.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP) and path.is_symlink():
            annex = "; fetch the content with: git annex get" if ".git/annex" in str(path.readlink()) else ""
            raise UserError(
                f"{path} is a link to {path.readlink()}, which cannot be opened ({error.strerror}); expected "
                f"a file: restore it or remove the link{annex}"
            ) from None
        if isinstance(error, FileNotFoundError):
            raise UserError(f"{path}: no such file; {remedy}") from None
        raise UserError(f"cannot open {short(path)}: {error.strerror}; {remedy}") from None
    if not stat.S_ISREG(state.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(state.st_mode), "a device")
        raise UserError(f"{path} is {kind}, expected a file; {remedy}")
    return state.st_size


def read_text(path: Path, remedy: str, most: int = MOST_TEXT) -> str:
    """Return the text of a UTF-8 file, with or without a byte-order mark.

    Args:
        path: the file.
        remedy: what the user can do, for messages.
        most: largest size in bytes.

    Raises:
        UserError: as `check_file`; the file is larger than `most`, cannot be read or is not UTF-8.
    """
    size = check_file(path, remedy)
    if size > most:
        raise UserError(f"{path} has {size} bytes, expected {most} or fewer; {remedy}")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; {remedy}") from None
    except UnicodeDecodeError as error:
        kind = file_kind(path)
        found = f"byte {error.start} is no UTF-8" if kind == "a file of another kind" else f"it is {kind}"
        raise UserError(f"{path} cannot be read as text: {found}, expected UTF-8; {remedy}") from None


def parse_json(text: str, where: str, remedy: str) -> Any:
    """Return the value of a JSON text.

    Args:
        text: the text.
        where: the file, or file and line, for messages.
        remedy: what the user can do, for messages.

    Raises:
        UserError: the text is not JSON, nests too deeply, holds NaN or an infinity, or repeats a key of an
            object (a usual parser keeps the last value and hides the first).
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({short(error)}); {remedy}") from None
    except RecursionError:
        raise UserError(f"{where}: not usable JSON (lists or objects nested too deeply); {remedy}") from None


def read_json(path: Path, remedy: str) -> Any:
    """Return the value in a JSON file; errors as `read_text` and `parse_json`."""
    return parse_json(read_text(path, remedy), str(path), remedy)


def read_toml(path: Path, remedy: str = "mend the file") -> dict[str, Any]:
    """Return the content of a TOML file, UTF-8 with or without a byte-order mark.

    Raises `UserError` as `read_text`, for a file of more than 256 KiB or with a line of more than 4,096
    characters, and for a file that is not TOML.
    """
    text = read_text(path, remedy, MOST_TOML).replace("\r\n", "\n")
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > MOST_TOML_LINE:
            raise UserError(
                f"{path}: line {number} has {len(line)} characters, expected {MOST_TOML_LINE} or fewer; "
                f"{remedy}"
            )
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise UserError(f"{path}: cannot be read as TOML ({short(error)}); {remedy}") from None
    except RecursionError:
        raise UserError(f"{path}: cannot be read as TOML (nested too deeply); {remedy}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _value in pairs]
        repeated = next(key for key, count in Counter(keys).items() if count > 1)
        raise ValueError(f"key {short(repr(repeated))} stands there twice")
    return content


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number of JSON")
