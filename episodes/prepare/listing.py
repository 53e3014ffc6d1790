"""Files of scans in a folder: leftovers are skipped and named, dead links and pipes are errors."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from fewshot.base.errors import UserError, listed
from fewshot.files.input_files import check_file

LOG = logging.getLogger("fewshot")
LEFTOVER = "._"  # macOS writes such a file beside each file that it copies to another file system


def scan_files(folder: Path, is_scan: Callable[[str], bool], *, below: bool = False) -> list[Path]:
    """Return the files of scans in `folder`, sorted by path.

    A file whose name begins with `._` is skipped, and a warning is logged.

    Args:
        folder: an existing folder.
        is_scan: says by the path relative to `folder`, with `/`, whether a file belongs to a scan.
        below: search the folders below as well.

    Raises:
        UserError: the folder cannot be listed; an entry that `is_scan` accepts is a link to nothing, a
            folder, a pipe or a device.
    """
    found, leftovers, faults = [], [], []
    for path in list_folder(folder, below=below):
        name = path.relative_to(folder).as_posix()
        if path.name.startswith(LEFTOVER):
            leftovers.append(name)
        elif is_scan(name):
            try:
                check_file(path, "remove or replace it")
            except UserError as error:
                faults.append((name, error))
            else:
                found.append(path)
    if leftovers:
        LOG.warning(
            "%s: skipped %d files that macOS left (%s)", folder, len(leftovers), listed(leftovers, most=3)
        )
    if faults:
        more = f"; so are {listed((name for name, _error in faults[1:]), most=10)}" if faults[1:] else ""
        raise UserError(f"{faults[0][1]}{more}")
    return found


def list_folder(folder: Path, *, below: bool = False) -> list[Path]:
    """Return the entries of a folder, sorted by path; `UserError` if it cannot be listed."""
    try:
        return sorted(folder.rglob("*") if below else folder.iterdir())
    except OSError as error:
        raise UserError(f"cannot list {folder}: {error.strerror}; make it readable") from None
