"""`UserError`, the exception for a user's mistake, `CannotWriteError`, and the suggestion of similar names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake the user can mend: one line with what was found, what was expected and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


class CannotWriteError(UserError):
    """A file or folder cannot be written: a full disk, no permission, a read-only file system."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Return the error for an unknown `name` of a `kind`: similar names first, then all that are `known`."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return UserError(f"unknown {kind} {name!r}: {hint}known: {', '.join(names) or 'none'}")
