"""Patterns of file names: `{fold}` and `{group}` stand for the fold's number and the group's name."""

from __future__ import annotations

import re

from fewshot.base.errors import UserError, short

PLACES = re.compile(r"\{(fold|group)\}")


def fill_pattern(pattern: str, fold: int, group: str, what: str) -> str:
    """Return `pattern` with the fold's number and the group's name in place of `{fold}` and `{group}`.

    Raises `UserError`, beginning with `what`, if anything else stands in braces, such as a format or an
    attribute.
    """
    if re.search(r"[{}]", PLACES.sub("", pattern)):
        raise UserError(f"{what} {short(repr(pattern))}: only {{fold}} and {{group}} may stand in braces")
    values = {"fold": str(fold), "group": group}
    return PLACES.sub(lambda match: values[match[1]], pattern)
