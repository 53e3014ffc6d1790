"""Labels of rows, made distinct: by the options in which equal ones differ, else by configuration ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def distinct_labels(
    texts: Sequence[str], options: Sequence[Mapping[str, Any]], identities: Sequence[str]
) -> list[str]:
    """Return a label for each row.

    Rows of one text get the options whose values differ between them; if labels are equal still, they get
    `#` and their identity.

    Args:
        texts: the label of each row, perhaps equal ones.
        options: the options of each row's method.
        identities: a configuration id for each row.
    """
    named = []
    for text, own in zip(texts, options, strict=True):
        alike = [other for each, other in zip(texts, options, strict=True) if each == text]
        differ = [name for name in own if any(other.get(name) != own[name] for other in alike)]
        named.append(" ".join([text, *(f"{name}={_shown(own[name])}" for name in differ)]))
    return [
        label if named.count(label) == 1 else f"{label} #{identity}"
        for label, identity in zip(named, identities, strict=True)
    ]


def _shown(value: Any) -> str:
    """Return a value of an option as `--option` takes it; "none" for an empty one."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value)) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value) or "none"
