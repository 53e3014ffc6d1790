"""File locks between processes that share a work folder; the system releases them when a process dies."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock file `path`; yield True. Waits, and logs it, while another process holds the lock."""
    with if_free(path) as ours:
        if ours:
            yield True
            return
    logging.getLogger("fewshot").info("waiting for another process that holds %s", path)
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield True


@contextmanager
def if_free(path: Path) -> Iterator[bool]:
    """Try to lock the file `path` without waiting; yield whether this process now holds the lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        yield _is_locked(stream.fileno())


@contextmanager
def folder_if_free(folder: Path) -> Iterator[bool]:
    """Try to lock an existing folder without waiting; yield whether this process now holds the lock."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield _is_locked(descriptor)
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    """Return whether the open file could be locked; the lock lasts until it is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
