"""Loads a user's modules from their sources, never from the bytecode in `__pycache__`.

Python holds bytecode for current if the source has the size and the second of its last change that it had
then. An edit of equal size in that second, or a copy with the time of another file, would run the old code
under the digest of the new.
"""

from __future__ import annotations

import sys
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from pathlib import Path
from types import CodeType

from fewshot.identity.source_digest import is_installed

_folders: set[Path] = set()  # of users' modules


class SourceLoader(SourceFileLoader):
    """Compiles a module from its source each time that it is loaded."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of the source."""
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


_finder_of = FileFinder.path_hook((ExtensionFileLoader, EXTENSION_SUFFIXES), (SourceLoader, SOURCE_SUFFIXES))


def load_from_source(folder: Path) -> None:
    """Make Python load the modules in `folder` and below it from their sources, installed ones apart.

    `folder`: a resolved path.
    """
    if not _folders:
        sys.path_hooks.insert(0, _finder_in_users_folder)
    _folders.add(folder)
    for entry in [*sys.path_importer_cache]:  # found before by Python's own loader
        if Path(entry).resolve().is_relative_to(folder):
            del sys.path_importer_cache[entry]


def _finder_in_users_folder(entry: str) -> FileFinder:
    """Return the finder of a folder that Python imports from; `ImportError` lets Python take its own."""
    place = Path(entry).resolve()
    if is_installed(place) or not any(place.is_relative_to(folder) for folder in _folders):
        raise ImportError(f"{entry} holds no modules of a user")
    finder: FileFinder = _finder_of(entry)  # type: ignore[assignment]
    return finder
