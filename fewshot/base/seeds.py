"""Seeds from names: a random draw depends on its purpose, never on earlier draws."""

from __future__ import annotations

import hashlib


def seed_for(*names: str | int) -> int:
    """Return a seed in [0, 2**63) that depends only on `names`, their order and their types.

    >>> seed_for("episode", 0, 17) == seed_for("episode", 0, 17) != seed_for("episode", 0, "17")
    True
    """
    text = "\x1f".join(f"{type(name).__name__}:{name}" for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
