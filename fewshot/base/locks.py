"""Locks between processes that share a work folder; they end with the process that holds them.

On a local file system a lock is an `flock`. On one that several hosts share it is a lease
(`fewshot/base/leases.py`).
"""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fewshot.base.leases import NO_FLOCK, leased, leased_if_free, leases_needed, mark_leases


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock file `path`; yield True. Waits, and logs it, while another process holds the lock."""
    with if_free(path) as ours:
        if ours:
            yield True
            return
    if leases_needed(path.parent):
        with leased(path):
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
    if not leases_needed(path.parent):
        with path.open("a") as stream:
            ours = _try_flock(stream.fileno())
            if ours is not None:
                yield ours
                return
        mark_leases(path.parent)
    with leased_if_free(path) as ours:
        yield ours


def _try_flock(file: int) -> bool | None:
    """Return whether this process now holds the flock; None where the file system has no flock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_FLOCK:
            raise
        return None
    return True
