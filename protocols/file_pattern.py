"""File names with a place for the fold and the group of a cell."""

from __future__ import annotations

import re
from pathlib import Path

from fewshot.base.errors import UserError, short

PLACES = re.compile(r"\{(fold|group)\}")


def fill_fold_and_group(pattern: str, fold: int, group: str, kind: str) -> Path:
    """Return `pattern` with `{fold}` and `{group}` replaced.

    Args:
        pattern: a path.
        fold: number of the fold.
        group: name of the group of classes.
        kind: what the pattern names, for the message.

    Raises:
        UserError: braces hold anything else, such as another name, a format or an attribute.
    """
    if re.search(r"[{}]", PLACES.sub("", pattern)):
        raise UserError(f"{kind} {short(repr(pattern))}: only {{fold}} and {{group}} may stand in braces")
    values = {"fold": str(fold), "group": group}
    return Path(PLACES.sub(lambda match: values[match[1]], pattern))
