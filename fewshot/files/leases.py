"""Leases: locks as files, for folders where `flock` is missing or does not reach other hosts, such as NFS.

A lease is a file of a generation, LOCK.lease.N; the highest N counts. Whoever takes a lock makes the file of
the next generation, which only one process can do (a hard link to a complete file). The holder changes its
file at every heartbeat. A waiting process takes a lease that is free, whose process has ended on this host,
or whose file has stayed the same for `Pace.stale` seconds of its own clock. No time is read from a file, so
clocks may differ.
"""

from __future__ import annotations

import _thread
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fewshot.base.errors import UserError

LOG = logging.getLogger("fewshot")
VARIABLE = "FEWSHOT_LOCKS"  # "flock" or "lease"; unset: by file system
KINDS = ("flock", "lease")
MARKER = "LEASES"  # a file in a folder of locks: every process takes leases here
# file systems where `flock` is missing, or local to a host, or so by configuration
SHARED = (
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "ceph", "gpfs", "beegfs", "9p", "afs", "glusterfs",
)  # fmt: skip


@dataclass(frozen=True)
class Pace:
    """Seconds between heartbeats, seconds without one that end a lease, seconds between two attempts."""

    beat: float = 15.0
    stale: float = 120.0
    poll: float = 1.0


def leases_needed(folder: Path) -> bool:
    """Return whether the locks in a folder are leases.

    FEWSHOT_LOCKS decides; else the folder's marker, which the first process on a shared file system leaves
    for hosts that see a local one. Raises `UserError` for another value of FEWSHOT_LOCKS.
    """
    kind = os.environ.get(VARIABLE)
    if kind is not None:
        if kind not in KINDS:
            raise UserError(f"{VARIABLE} is {kind!r}, expected {' or '.join(KINDS)}; correct it or unset it")
        return kind == "lease"
    if (folder / MARKER).exists():
        return True
    if not _is_shared(folder.resolve()):
        return False
    mark_leases(folder)
    return True


def mark_leases(folder: Path) -> None:
    """Make every process take leases in a folder of locks."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()


@contextmanager
def leased_if_free(path: Path, pace: Pace = Pace()) -> Iterator[bool]:
    """Try to take the lease of the lock `path` without waiting; yield whether this process now holds it.

    Raises `UserError` at the end of the block if another process took the lease meanwhile, because this one
    showed no heartbeat for `pace.stale` seconds.
    """
    attempt = _Attempt(path, pace)
    generation = attempt.take()
    if generation is None:
        yield False
        return
    with _held(path, generation, pace):
        yield True


@contextmanager
def leased(path: Path, pace: Pace = Pace()) -> Iterator[bool]:
    """Hold the lease of the lock `path`; yield True. Waits, and logs it, while another process holds it."""
    attempt = _Attempt(path, pace)
    generation = attempt.take()
    if generation is None:
        LOG.info("waiting for another process that holds %s", path)
    while generation is None:
        time.sleep(pace.poll)
        generation = attempt.take()
    with _held(path, generation, pace):
        yield True


class _Attempt:
    """One process's attempts to take a lease; it remembers since when the lease looks the same."""

    def __init__(self, path: Path, pace: Pace) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._pace = path, pace
        self._seen: Any = None
        self._since = time.monotonic()

    def take(self) -> int | None:
        """Return the generation that this process now holds; None while another one holds the lease."""
        newest = _newest(self._path)
        if newest and not self._is_over(newest):
            return None
        mine = newest + 1
        if not _make(self._path, mine, _entry(0)):
            return None
        if _newest(self._path) > mine:  # this process saw a generation that is long past
            _file(self._path, mine).unlink(missing_ok=True)
            return None
        for number in _generations(self._path):
            if number < mine:
                _file(self._path, number).unlink(missing_ok=True)
        return mine

    def _is_over(self, generation: int) -> bool:
        entry = _read(_file(self._path, generation))
        if entry is not None and (entry["free"] or _has_ended(entry)):
            return True
        seen = (generation, entry)
        if seen != self._seen:
            self._seen, self._since = seen, time.monotonic()
        return time.monotonic() - self._since > self._pace.stale


@contextmanager
def _held(path: Path, generation: int, pace: Pace) -> Iterator[None]:
    """Show heartbeats during the block, and free the lease at its end."""
    stop, lost = threading.Event(), threading.Event()
    is_main = threading.current_thread() is threading.main_thread()

    def beat() -> None:
        number = 0
        while not stop.wait(pace.beat):
            number += 1
            try:
                if _newest(path) > generation:
                    lost.set()
                    if is_main:
                        _thread.interrupt_main()
                    return
                _write(_file(path, generation), _entry(number))
            except OSError as error:  # the server may come back before the lease is stale
                LOG.warning("no heartbeat of %s: %s", path, error)

    thread = threading.Thread(target=beat, name=f"lease of {path.name}", daemon=True)
    thread.start()
    try:
        yield
    except KeyboardInterrupt:
        if lost.is_set():
            raise _lost(path, pace) from None
        raise
    finally:
        stop.set()
        thread.join()
        if _newest(path) > generation:
            lost.set()
            _file(path, generation).unlink(missing_ok=True)
        else:
            _write(_file(path, generation), _entry(0) | {"free": True})
    if lost.is_set():
        raise _lost(path, pace)


def _lost(path: Path, pace: Pace) -> UserError:
    return UserError(
        f"another process took the lease of {path}: this one showed no heartbeat for {pace.stale:.0f} s; its "
        "work is kept, and the same command continues from there"
    )


def _entry(beat: int) -> dict[str, Any]:
    """Return the content of this process's lease; a random word tells two equal heartbeats apart."""
    word = secrets.token_hex(8)
    pid = os.getpid()
    return {"host": host(), "pid": pid, "start": _start(pid), "beat": beat, "word": word, "free": False}


@lru_cache(maxsize=1)
def host() -> str:
    """Return a name of this host that no container or restart of it shares."""
    name = os.environ.get("FEWSHOT_HOST") or socket.gethostname()
    boot = Path("/proc/sys/kernel/random/boot_id")
    pids = Path("/proc/self/ns/pid")
    parts = [boot.read_text().strip()] if boot.is_file() else []
    return " ".join([name, *parts, *([str(pids.readlink())] if pids.is_symlink() else [])])


def _has_ended(entry: dict[str, Any]) -> bool:
    """Return whether the holder was a process of this host that has ended."""
    return bool(entry["host"] == host() and _start(entry["pid"]) != entry["start"])


def _start(pid: int) -> str | None:
    """Return when a process of this host started, in the kernel's ticks; None if there is no such process."""
    file = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] == "Z" else fields[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "alive"
    return "alive"


def _file(path: Path, generation: int) -> Path:
    return path.with_name(f"{path.name}.lease.{generation}")


def _generations(path: Path) -> list[int]:
    beginning = f"{path.name}.lease."
    with os.scandir(path.parent) as entries:
        names = [entry.name.removeprefix(beginning) for entry in entries if entry.name.startswith(beginning)]
    return [int(name) for name in names if name.isdecimal()]


def _newest(path: Path) -> int:
    return max(_generations(path), default=0)


def _read(file: Path) -> dict[str, Any] | None:
    """Return the content of a lease; None if it is gone, which the next look at the folder shows."""
    try:
        entry: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return entry


def _make(path: Path, generation: int, entry: dict[str, Any]) -> bool:
    """Make the file of a generation with its whole content; return False if another process was first."""
    temporary = path.with_name(f".{path.name}.{entry['word']}")
    temporary.write_text(json.dumps(entry), encoding="utf-8")
    try:
        os.link(temporary, _file(path, generation))
    except FileExistsError:
        return temporary.stat().st_nlink == 2  # NFS: the link was made and its confirmation was lost
    finally:
        temporary.unlink()
    return True


def _write(file: Path, entry: dict[str, Any]) -> None:
    temporary = file.with_name(f".{file.name}.{entry['word']}")
    temporary.write_text(json.dumps(entry), encoding="utf-8")
    temporary.replace(file)


@lru_cache(maxsize=64)
def _is_shared(folder: Path) -> bool:
    """Return whether a folder lies on a file system of several hosts."""
    mounts = Path("/proc/self/mounts")
    if not mounts.is_file():
        return False
    best, kind = -1, ""
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        _device, place, name, *_options = line.split(" ")
        place = place.replace("\\040", " ")
        if len(place) >= best and (folder == Path(place) or Path(place) in folder.parents):
            best, kind = len(place), name
    return kind in SHARED or kind.startswith("fuse.")
