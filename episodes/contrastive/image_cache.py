"""A cache of the checks of picture files, one JSON file per folder, so that each file is decoded once."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import NamedTuple

from fewshot.base.errors import UserError
from fewshot.files.atomic_io import write_json
from fewshot.files.input_files import read_json
from fewshot.files.locks import locked

LOG = logging.getLogger("fewshot")


class FileCheck(NamedTuple):
    """The check of a file of `size` bytes, modified at `mtime_ns`.

    `verdict`: "good", or the reason to skip the file; `hash`: 16 hex digits of the sha256 of its bytes.
    """

    size: int
    mtime_ns: int
    verdict: str
    hash: str


class CheckCache:
    """The checks of the files below `pictures` by relative path; a change of `reader` empties the cache.

    `folder` holds the cache files; None keeps nothing on disk. Each picture folder has its own cache file,
    named by its path, because files of two folders may have equal names, sizes and times.
    """

    def __init__(self, folder: Path | None, pictures: Path, reader: str) -> None:
        place = str(pictures.resolve()).encode("utf-8", "surrogateescape")
        path = None if folder is None else folder / f"{hashlib.sha256(place).hexdigest()[:16]}.json"
        self._path, self._reader = path, reader
        self._entries: dict[str, FileCheck] = {}
        if path is not None:
            self._entries = _read(path, reader)

    def get(self, name: str, file: Path) -> FileCheck | None:
        """Return the check of `file` under `name`; None if the file is unknown or has changed."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        try:
            now = file.stat()
        except OSError:  # missing or a broken link: the check itself reports it
            return None
        return entry if (entry.size, entry.mtime_ns) == (now.st_size, now.st_mtime_ns) else None

    def put(self, name: str, entry: FileCheck) -> None:
        """Remember the check of a file; `save` writes it."""
        self._entries[name] = entry

    def save(self) -> None:
        """Write the cache file, with what other processes added; `UserError` if it cannot be written."""
        if self._path is not None:
            with locked(self._path.with_suffix(".lock")):
                self._entries = _read(self._path, self._reader) | self._entries
                write_json(self._path, {"reader": self._reader, "files": self._entries})


def _read(path: Path, reader: str) -> dict[str, FileCheck]:
    """Return the checks in a cache file; empty without a file, for another reader and for a damaged file."""
    if not path.exists():
        return {}
    try:
        content = read_json(path, "delete it")
        if content["reader"] == reader:
            return {name: _entry(*values) for name, values in content["files"].items()}
    except (UserError, ValueError, KeyError, TypeError, AttributeError) as error:
        LOG.warning("%s is damaged (%r): all pictures are checked again", path, error)
    return {}


def _entry(size: int, mtime_ns: int, verdict: str, digest: str) -> FileCheck:
    if not (isinstance(size, int) and isinstance(mtime_ns, int) and isinstance(verdict, str)):
        raise TypeError(f"found {size!r}, {mtime_ns!r}, {verdict!r}")
    return FileCheck(size, mtime_ns, verdict, str(digest))
