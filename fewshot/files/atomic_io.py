"""Atomic writes of files and folders, canonical JSON, and sha256 hashes of values and files."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

from fewshot.base.errors import CannotWriteError
from fewshot.files.temporaries import new_file, new_folder


@contextmanager
def atomic_write(path: Path, mode: Literal["w", "wb"] = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; on success flush it to disk and rename it to `path`.

    Text is UTF-8. On any error the temporary file is removed and `path` stays as it was. A link is followed:
    the file that it names is replaced. A device or a pipe (/dev/stdout too) is never replaced: the content
    is collected in memory and written into it. Permissions are those of an existing file, else those of the
    umask.

    Raises `CannotWriteError`, with `path` and the reason, for a full disk or a folder without permission.
    """
    try:
        stream_descriptor = _own_descriptor(path)
        target = path.resolve()
        in_place = stream_descriptor is not None or (target.exists() and not target.is_file())
        if not in_place:
            temporary, descriptor = new_file(target)
    except (OSError, RuntimeError) as error:  # a link to itself is a RuntimeError
        raise cannot_write(path, error) from error
    if in_place:
        buffer = io.StringIO() if mode == "w" else io.BytesIO()
        yield buffer
        value = buffer.getvalue()
        _write_into(path, stream_descriptor, value.encode() if isinstance(value, str) else value)
        return
    try:
        with os.fdopen(descriptor, mode, encoding="utf-8" if mode == "w" else None) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            temporary.replace(target)  # before the lock ends, so that nobody takes it for a dead one's
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise cannot_write(path, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new temporary folder beside `path`; on success it becomes `path`, in place of an older one.

    On any error the temporary folder is removed and `path` stays as it was. Raises OSError for a full disk or
    a folder without write permission.
    """
    temporary, descriptor = new_folder(path)
    try:
        yield temporary
        replace_folder(temporary, path)
    finally:
        os.close(descriptor)
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(temporary: Path, path: Path) -> None:
    """Rename a folder to `path`; move an older one aside first and remove it after the rename."""
    aside: list[tuple[Path, int]] = []
    try:
        while True:  # another process may put its own folder there at the same time
            try:
                temporary.rename(path)
                return
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    if aside and not path.exists():
                        (aside[-1][0] / "replaced").rename(path)
                    raise
            aside.append(new_folder(path))
            with suppress(FileNotFoundError):
                path.rename(aside[-1][0] / "replaced")
    finally:
        for folder, descriptor in aside:
            os.close(descriptor)
            shutil.rmtree(folder, ignore_errors=True)


def copy_to(path: Path, source: Path) -> None:
    """Copy the file `source` to `path` atomically; errors as `atomic_write`."""
    with atomic_write(path, "wb") as stream, source.open("rb") as content:
        shutil.copyfileobj(content, stream)


def cannot_write(path: Path, error: OSError | RuntimeError) -> CannotWriteError:
    """Return the error for a file that cannot be written: path, reason and the remedy that fits."""
    number = error.errno if isinstance(error, OSError) else None
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    remedy = _REMEDIES.get(number, "free space or choose another folder")
    return CannotWriteError(f"cannot write {path}: {reason}; {remedy}")


_REMEDIES: dict[int | None, str] = {
    errno.EISDIR: "give the name of a file",
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS), "make the folder writable or choose another folder"
    ),
}


def _own_descriptor(path: Path) -> int | None:
    """Return N if `path` leads to /dev/fd/N, as /dev/stdout does, or to its twin in /proc; else None."""
    own = re.compile(rf"/(?:dev|proc/(?:self|thread-self|{os.getpid()}))/fd/([0-9]+)")
    step = Path(os.path.abspath(path))  # noqa: PTH100 - lexical: `resolve` would follow the last link too
    for _ in range(40):  # as many links as Linux follows
        found = own.fullmatch(str(step))
        if found is not None:
            return int(found[1])
        if not step.is_symlink():
            return None
        step = Path(os.path.normpath(step.parent / step.readlink()))
    return None


def _write_into(path: Path, descriptor: int | None, content: bytes) -> None:
    """Write `content` to an open descriptor of this process, or into the device or pipe at `path`."""
    try:
        if descriptor is not None:
            sys.stdout.flush()
            sys.stderr.flush()
        opened = os.open(path, os.O_WRONLY) if descriptor is None else os.dup(descriptor)
        with os.fdopen(opened, "wb") as stream:
            stream.write(content)
    except OSError as error:
        raise cannot_write(path, error) from error


def canonical_json(value: Any) -> str:
    """Return `value` as JSON with sorted keys and no spaces; NaN and infinities raise ValueError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def json_text(value: Any) -> str:
    """Return the text of a JSON file: sorted keys, one-space indent; NaN and infinities raise ValueError."""
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write `json_text` of `value` to `path` atomically."""
    text = json_text(value)
    with atomic_write(path) as stream:
        stream.write(text)


def hash_of(value: Any) -> str:
    """Return the sha256, in hex, of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Return the sha256, in hex, of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
