"""What the command line prints: plain text without control characters, with replacements where needed."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from fewshot.base.errors import one_line, plain_text


class PlainStream:
    """A text stream that writes escapes for control characters; everything else is the inner stream's."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def write(self, text: str) -> int:
        """Write `text` with escapes and return its length."""
        self._inner.write(plain_text(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each of the lines."""
        for line in lines:
            self.write(line)


class PlainFormatter(logging.Formatter):
    """Format log lines as plain text of one line each."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the name of the base class)
        """Return the message as one line."""
        return one_line(super().formatMessage(record))


@contextmanager
def plain_output() -> Iterator[None]:
    """Write standard output as plain text during the block, "?" where the terminal lacks a character."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    with redirect_stdout(PlainStream(sys.stdout)):
        yield


def log_to_stderr() -> None:
    """Send log lines of level INFO and above to standard error, unless a handler exists."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def write_error(message: object) -> None:
    """Write a message to standard error as one line."""
    sys.stderr.write(f"{one_line(message)}\n")
