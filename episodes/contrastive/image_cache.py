"""What was found of each picture file, one JSON file a folder, so that a large one is checked only once."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import NamedTuple

from fewshot.base.atomic_io import write_json

LOG = logging.getLogger("fewshot")


class Checked(NamedTuple):
    """A file of `size` bytes, changed at `mtime_ns`: "good" or why it is left out, and its bytes' hash."""

    size: int
    mtime_ns: int
    verdict: str
    hash: str


class CheckCache:
    """Relative path -> what was found below `pictures`; another `reader` begins anew.

    `kept` is the folder of such caches, None for none: folders of pictures may have files of one name, size
    and time, so each has a cache of its own, named by where it lies.
    """

    def __init__(self, kept: Path | None, pictures: Path, reader: str) -> None:
        place = str(pictures.resolve()).encode("utf-8", "surrogateescape")
        path = None if kept is None else kept / f"{hashlib.sha256(place).hexdigest()[:16]}.json"
        self._path, self._reader = path, reader
        self._entries: dict[str, Checked] = {}
        if path is None or not path.exists():
            return
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["reader"] == reader:
                self._entries = {name: _entry(*values) for name, values in content["files"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            LOG.warning("%s is damaged (%r): all pictures are checked again", path, error)

    def get(self, name: str, file: Path) -> Checked | None:
        """Return what was found of a file, None where it is not known or has changed since."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        try:
            now = file.stat()
        except OSError:  # gone or a broken link: the check itself will say so
            return None
        return entry if (entry.size, entry.mtime_ns) == (now.st_size, now.st_mtime_ns) else None

    def put(self, name: str, entry: Checked) -> None:
        """Remember what was found of a file."""
        self._entries[name] = entry

    def save(self) -> None:
        """Write all that is known; `UserError` where that can't be done."""
        if self._path is not None:
            write_json(self._path, {"reader": self._reader, "files": self._entries})


def _entry(size: int, mtime_ns: int, verdict: str, digest: str) -> Checked:
    if not (isinstance(size, int) and isinstance(mtime_ns, int) and isinstance(verdict, str)):
        raise TypeError(f"found {size!r}, {mtime_ns!r}, {verdict!r}")
    return Checked(size, mtime_ns, verdict, str(digest))
