"""Installations of this program that hide each other: metadata, the running code and the shell's command."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlparse

import fewshot

PROGRAM = "fewshot-medseg"


def running_home() -> Path:
    """Return the folder that holds the packages of the running program."""
    return Path(str(fewshot.__file__)).resolve().parent.parent


def list_homes(path: Sequence[str] | None = None) -> tuple[Path, ...]:
    """Return the folder of every installation's packages, sorted, each once.

    Args:
        path: folders to search; None: `sys.path`.
    """
    found = importlib.metadata.distributions(name=PROGRAM, path=list(sys.path if path is None else path))
    return tuple(sorted({_home_of(distribution) for distribution in found}))


def describe_duplicates() -> Iterator[str]:
    """Yield one warning for each way in which one installation hides another."""
    home, homes = running_home(), list_homes()
    if len(homes) > 1:
        yield (
            f"warning: installed {len(homes)} times: {', '.join(map(str, homes))}; keep one: "
            f"pip uninstall {PROGRAM}"
        )
    if homes and home not in homes:
        yield (
            f"warning: this run uses {home}, which hides the installation in {homes[0]}; leave the folder, "
            "or unset PYTHONPATH"
        )
    command = shutil.which("fewshot")
    if command is not None and Path(command).parent.resolve() != Path(sys.executable).parent.resolve():
        yield (
            f"warning: the shell's fewshot is {command}, of another environment than {sys.executable}; "
            "activate the environment that you mean"
        )


def _home_of(distribution: importlib.metadata.Distribution) -> Path:
    """Return the folder of a distribution's packages: the checkout of an editable installation."""
    text = distribution.read_text("direct_url.json")
    source = json.loads(text) if text else {}
    if source.get("dir_info", {}).get("editable"):
        return Path(unquote(urlparse(source["url"]).path)).resolve()
    return Path(str(distribution.locate_file("."))).resolve()
