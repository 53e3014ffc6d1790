"""File names with a place for the fold and the group of a cell."""

from __future__ import annotations

from pathlib import Path

from fewshot.base.errors import UserError


def fill_fold_and_group(pattern: str, fold: int, group: str, kind: str) -> Path:
    """Return `pattern` with `{fold}` and `{group}` replaced.

    Args:
        pattern: a path.
        fold: number of the fold.
        group: name of the group of classes.
        kind: what the pattern names, for the message.

    Raises:
        UserError: braces hold another name.
    """
    try:
        return Path(pattern.format(fold=fold, group=group))
    except (KeyError, IndexError, ValueError):
        raise UserError(f"{kind} {pattern!r}: only {{fold}} and {{group}} may stand in braces") from None
