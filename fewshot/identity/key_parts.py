"""What keys and configuration ids hold of a method and of initial weights: content, never a file's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def method_key_part(method: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a key holds of a method, from the `method` part of a record or a spec.

    Names of files are left out: a user's method goes by class and digest, an option that names a file by the
    file's content. So a file that moves leaves every key as it was.
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
    """Return what a key holds of initial weights: the content of a file, else the name."""
    if initial is None:
        return None
    rest = {name: value for name, value in initial.items() if name not in ("name", "sha256")}
    return {"sha256": initial["sha256"], **rest} if initial["sha256"] else {"name": initial["name"], **rest}
