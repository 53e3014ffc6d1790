"""Atomic file writes, canonical JSON, and sha256 hashes of values and files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from fewshot.base.errors import UserError


@contextmanager
def atomic_write(path: Path, mode: Literal["w", "wb"] = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; on success flush it to disk and rename it to `path`.

    On any error it removes the temporary file and leaves `path` as it was. Raises `UserError`, with `path`
    and the reason, for a full disk or a folder without write permission.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        with os.fdopen(descriptor, mode) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise _cannot_write(path, error) from error
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def copy_to(path: Path, source: Path) -> None:
    """Copy the file `source` to `path` atomically; errors as `atomic_write`."""
    with atomic_write(path, "wb") as stream, source.open("rb") as content:
        shutil.copyfileobj(content, stream)


@contextmanager
def moved_into_place(path: Path, suffix: str) -> Iterator[Path]:
    """Yield a temporary path beside `path`, for a library that takes a file name; rename it on success."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=suffix, dir=path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # SimpleITK reports a full disk as RuntimeError
        temporary.unlink(missing_ok=True)
        raise _cannot_write(path, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _cannot_write(path: Path, error: OSError | RuntimeError) -> UserError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UserError(f"cannot write {path}: {reason}; free space or choose another folder")


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
