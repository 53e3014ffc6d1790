"""Locks between processes that share a work folder; they end with the process that holds them.

On a local file system a lock is an `flock`, of Linux and macOS. On one that several hosts share, or that has
no `flock`, it is a lease (`fewshot/files/leases.py`). A folder in which nothing can be written needs none: a
process that only reads finished files, which are replaced whole, works without a lock.
"""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fewshot.base.errors import UserError
from fewshot.files.leases import VARIABLE, leased, leased_if_free, leases_needed, mark_leases

WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EINVAL)
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class NoLocksError(UserError):
    """The file system has no locks, and leases are not possible or not wished."""


def check_platform() -> None:
    """Raise `UserError` on a system without `fcntl`, such as Windows."""
    if importlib.util.find_spec("fcntl") is None:
        raise UserError(
            "Windows is not supported: fewshot needs the file locks of Linux or macOS (Python's fcntl); use "
            "one of these systems, or WSL 2 on Windows"
        )


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock file `path`; yield True. Waits, and logs it, while another process holds the lock.

    Raises `UserError` as `if_free`.
    """
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
        _wait(stream.fileno(), path)
        yield True


@contextmanager
def if_free(path: Path) -> Iterator[bool]:
    """Try to lock the file `path` without waiting; yield whether this process may continue.

    It may if it now holds the lock, or if nothing can be written in the folder above the lock's own and in
    the folders there: then no process of this user can do what the lock is for.

    Raises:
        NoLocksError: the file system has no `flock`, and no lease can be written or FEWSHOT_LOCKS is "flock".
        UserError: the lock file cannot be created, for a full disk or for want of permission; or another
            process took the lease meanwhile.
    """
    check_platform()
    with ExitStack() as stack:
        yield _try_enter(path, stack)


def _try_enter(path: Path, stack: ExitStack) -> bool:
    """Try to take the lock `path` until `stack` closes; return whether this process may continue."""
    refused: OSError | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not leases_needed(path.parent):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            stack.callback(os.close, descriptor)
            try:
                return _flock(descriptor, wait=False)
            except OSError as error:
                refused = error
            if refused.errno not in WITHOUT_LOCKS or os.environ.get(VARIABLE) == "flock":
                raise _no_locks(path, refused)
            mark_leases(path.parent)
        return stack.enter_context(leased_if_free(path))
    except OSError as error:
        if refused is not None:
            raise _no_locks(path, refused) from error
        if error.errno in READ_ONLY and not _is_writable(path.parent.parent):
            return True
        raise UserError(
            f"cannot write {path}: {error.strerror}; a lock file lets processes share the folder: make it "
            "writable, or choose another one"
        ) from error


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file or folder without waiting, until it is closed.

    Returns True if it is locked now, False if another process holds the lock, None if the file system has no
    locks.
    """
    try:
        return _flock(descriptor, wait=False)
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        return None


def _wait(descriptor: int, path: Path) -> None:
    try:
        _flock(descriptor, wait=True)
    except OSError as error:
        raise _no_locks(path, error) from error


def _flock(descriptor: int, *, wait: bool) -> bool:
    """Lock an open file or folder; return False if another process holds the lock, without `wait`."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _no_locks(path: Path, error: OSError) -> NoLocksError:
    return NoLocksError(
        f"cannot lock {path}: {error.strerror}; processes that share a folder need its file locks: "
        "mount it with locks, or choose another --work folder (tables, lists and `fewshot evaluate` of "
        "recorded cells need none)"
    )


def _is_writable(folder: Path) -> bool:
    """Return whether anything can be written in `folder` or in one of the folders in it."""
    if not folder.is_dir():
        return True
    return any(os.access(each, os.W_OK) for each in (folder, *(e for e in folder.iterdir() if e.is_dir())))
