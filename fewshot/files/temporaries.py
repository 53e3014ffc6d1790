"""Temporary files and folders beside their targets: one process owns each, and none long outlives its owner.

A name `.TARGET.HOST-BOOT-PID-RANDOM.tmp` says who writes it, and the owner holds a lock on it until it has
its own name. What a killed process leaves is removed by the next process that writes in the folder, and in a
work folder by the next command, even one that finds its work finished.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from fewshot.files.locks import check_platform, try_lock

NAME = re.compile(r"\..*\.([0-9a-f]{6})-([0-9a-f]{6})-([0-9]+)-[0-9a-f]{8}\.tmp")
LONGEST = 120  # bytes of the target's name in the temporary's
FORGOTTEN = 7 * 24 * 3600.0  # seconds without a change, after which a distant host's temporary counts as dead

_CLEARED: set[tuple[int, Path]] = set()  # process and folder, so that a folder is listed once a process


def new_file(target: Path) -> tuple[Path, int]:
    """Create a locked temporary file beside `target`; return its path and descriptor, open for writing.

    Its permissions are those of an existing `target`, else those of the umask. The lock ends with the
    descriptor.
    """
    check_platform()
    target.parent.mkdir(parents=True, exist_ok=True)
    clear_dead(target.parent)
    while True:
        path = _name(target)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        if try_lock(descriptor) is not False and os.fstat(descriptor).st_nlink:
            with suppress(FileNotFoundError):
                os.fchmod(descriptor, stat.S_IMODE(target.stat().st_mode))
            return path, descriptor
        os.close(descriptor)  # another process took it for dead before it was locked


def new_folder(target: Path) -> tuple[Path, int]:
    """Create a locked temporary folder beside `target`; return its path and the lock's descriptor."""
    check_platform()
    target.parent.mkdir(parents=True, exist_ok=True)
    clear_dead(target.parent)
    while True:
        path = _name(target)
        path.mkdir()
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            if try_lock(descriptor) is not False and path.exists():
                return path, descriptor
            os.close(descriptor)


def clear_dead(folder: Path, *, again: bool = False) -> None:
    """Remove the temporaries of dead processes in `folder`, once a process unless `again`.

    A temporary stays while its owner may live. The owner is dead if the lock is free and the name is of this
    host. Without locks it is dead if this host, since its last start, has no process of that number. All
    others stay until nothing has changed in them for a week.
    """
    done = os.getpid(), folder
    if done in _CLEARED and not again:
        return
    _CLEARED.add(done)
    try:
        names = [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return  # nothing of ours can lie there; who writes there reports it
    for name in names:
        owner = NAME.fullmatch(name)
        if owner is not None:
            _remove_if_dead(folder / name, *owner.groups())


def clear_work(work: Path) -> None:
    """Remove the temporaries of dead processes where commands write in a work folder, once a process.

    These are `work`, its folders, those in its logs and caches, and the supervoxels of its stores. What lies
    deeper belongs to one model or backbone; the code that trains it calls `clear_dead`.
    """
    clear_dead(work)
    for pattern in ("*/", "logs/*/", "cache/*/", "stores/*/supervoxels/"):
        for folder in work.glob(pattern):
            clear_dead(folder)


def _name(target: Path) -> Path:
    short = os.fsdecode(os.fsencode(target.name)[:LONGEST])
    host, boot = _machine()
    return target.with_name(f".{short}.{host}-{boot}-{os.getpid()}-{secrets.token_hex(4)}.tmp")


def _remove_if_dead(path: Path, host: str, boot: str, pid: str) -> None:
    is_folder = path.is_dir() and not path.is_symlink()
    mode = os.O_RDONLY if is_folder else os.O_RDWR | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, mode | os.O_CLOEXEC)
    except OSError:
        return  # it has its name by now, or belongs to another user
    try:
        lock = try_lock(descriptor)
        if lock is False:
            return
        here, since_start = _machine()
        if lock and host == here:
            dead = True
        elif lock is None and (host, boot) == (here, since_start):
            dead = not _is_alive(int(pid))
        else:
            dead = time.time() - _last_change(path) > FORGOTTEN
        if dead and is_folder:
            shutil.rmtree(path, ignore_errors=True)
        elif dead:
            with suppress(FileNotFoundError, PermissionError):  # somebody removed it, or may not write here
                path.unlink()
    finally:
        os.close(descriptor)


def _last_change(path: Path) -> float:
    """Return the latest time of change of a file, or of a folder and all that it holds."""
    times = [0.0]
    for each in (path, *(path.rglob("*") if path.is_dir() else ())):
        with suppress(FileNotFoundError):
            times.append(each.lstat().st_mtime)
    return max(times)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@cache
def _machine() -> tuple[str, str]:
    """Return six hex digits for this host's name, and six for its last start and space of process numbers."""
    start = Path("/proc/sys/kernel/random/boot_id")
    space = Path("/proc/self/ns/pid")
    since = start.read_text() if start.is_file() else ""
    numbers = str(space.stat().st_ino) if space.exists() else ""
    host = socket.gethostname()
    return _digits(host), _digits(f"{host} {since} {numbers}")


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:6]
