"""Names of datasets, scans, classes, methods and keys: what may be a file name, and paths made of them.

Every name from a file or a command line that becomes a part of a path passes through this module, so no name
leads out of its folder.
"""

from __future__ import annotations

import re
from pathlib import Path

from fewshot.base.errors import UserError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def checked_name(kind: str, name: str) -> str:
    """Return `name` if it can be a file name and a table entry, else raise `UserError`."""
    if not is_name(name):
        raise UserError(
            f"{kind} {name!r} is not a usable name: expected a letter or digit, then up to 63 of letters, "
            "digits, '.', '_' or '-'; rename it"
        )
    return name


def is_name(name: object) -> bool:
    """Return whether a value is a text that can be a file name and a table entry."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def path_in(folder: Path, kind: str, name: str, suffix: str = "") -> Path:
    """Return the path of `name`, with `suffix`, directly in `folder`; `UserError` for another name.

    Args:
        folder: the folder that the path stays in.
        kind: what the name names, for the message.
        name: checked by `checked_name`.
        suffix: the program's own ending, such as ".npy".
    """
    return folder / f"{checked_name(kind, name)}{suffix}"
