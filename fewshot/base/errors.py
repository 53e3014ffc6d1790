"""The one exception that a user's mistake raises, and how near names are suggested."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake the user can mend: one line saying what was found, what was wanted and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


def unknown_name(kind: str, found: str, known: Iterable[str]) -> UserError:
    """Return the error for a wrong name: near names first, then the whole list."""
    names = sorted(known)
    near = difflib.get_close_matches(found, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(name) for name in near)}? " if near else ""
    return UserError(f"unknown {kind} {found!r}: {hint}known: {', '.join(names) or 'none'}")
