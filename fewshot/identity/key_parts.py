"""The parts of keys and configuration ids for a method and initial weights: content, never file names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def method_key_part(method: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a key for the `method` part of a record or a spec.

    It omits file names: a user's method is identified by class and digest, an option that names a file by the
    file's content. So moving a file changes no key.
    """
    files = method.get("files", {})
    options = {name: value for name, value in method["options"].items() if name not in files}
    name = method["name"]
    if method["version"] is None:
        name = name.rpartition(":")[2]
    return {
        "name": name,
        "version": method["version"],
        "source": method["source"],
        "options": options,
        "files": dict(files),
    }


def weights_key_part(initial: Mapping[str, Any] | None) -> Any:
    """Return the part of a key for initial weights: the sha256 of their file, else their name."""
    if initial is None:
        return None
    rest = {name: value for name, value in initial.items() if name not in ("name", "sha256")}
    return {"sha256": initial["sha256"], **rest} if initial["sha256"] else {"name": initial["name"], **rest}
