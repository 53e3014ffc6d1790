"""`UserError`, the exception for a user's mistake, and the texts of messages: names, numbers, characters."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

MOST_NAMES = 40
MOST_CHARACTERS = 2000
DIGITS = 17  # a double is exact in 17 significant digits
# control characters but tab and line feed, surrogates, characters without width, and those that change the
# direction of text
HIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


class UserError(Exception):
    """A mistake the user can mend: one line with what was found, what was expected and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


class CannotWriteError(UserError):
    """A file or folder cannot be written: a full disk, no permission, a read-only file system."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Return the error for an unknown `name` of a `kind`: similar names first, then the `known` names."""
    names = sorted(known)
    near = difflib.get_close_matches(name[:100], names[:1000], n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return UserError(f"unknown {kind} {short(repr(name))}: {hint}known: {listed(names) or 'none'}")


def listed(names: Iterable[object], most: int = MOST_NAMES) -> str:
    """Return up to `most` names with commas, each shortened; then how many more there are."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(short(text) for text in texts[:most]) + more


def short(text: object, most: int = 200) -> str:
    """Return the text, or its beginning and its length if it has more than `most` characters."""
    full = str(text)
    return full if len(full) <= most else f"{full[:most]}... ({len(full)} characters)"


def plain_text(text: str) -> str:
    """Return the text with escapes, such as `\\x1b`, for characters that control a terminal or hide."""
    return HIDDEN.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def one_line(message: object) -> str:
    """Return a message as one line of plain text, without its middle if it is very long."""
    line = plain_text(" ".join(str(message).split()))
    half = MOST_CHARACTERS // 2
    return line if len(line) <= MOST_CHARACTERS else f"{line[:half]} [...] {line[-half:]}"


def numbers_apart(actual: Sequence[float], expected: Sequence[float]) -> tuple[str, str]:
    """Return two tuples of numbers as texts, with as few digits, at least 4, as show that they differ."""
    texts = "", ""
    for digits in range(4, DIGITS + 1):
        texts = _tuple_text(actual, digits), _tuple_text(expected, digits)
        if texts[0] != texts[1]:
            break
    return texts


def _tuple_text(values: Sequence[float], digits: int) -> str:
    return "(" + ", ".join(f"{value:.{digits}g}" for value in values) + ")"
