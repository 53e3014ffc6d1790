"""A user's own method: the file or module named on the command line, and modules beside it that it imports.

The current folder is no place that Python imports from (as under `python -P`): there may be a `yaml.py` in a
folder of data. So a named file is loaded from its path. Python finds a module beside it only if the user's
own code imports it by name, and no installed module has that name.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from fewshot.base.errors import UserError
from fewshot.identity.source_digest import imported_files, is_installed, module_file


class SiblingFinder(importlib.abc.MetaPathFinder):
    """Finds the top-level modules `names` in `folder`; Python looks here last."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        self.names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a module that the user's code imports by name, else None."""
        if path is not None or fullname not in self.names:
            return None
        return importlib.machinery.PathFinder.find_spec(fullname, [str(self.folder)], target)


def load_file(path: Path) -> ModuleType:
    """Return the module of a Python file, run anew; `UserError` if the file does not exist."""
    if not path.is_file():
        raise UserError(f"method file {str(path)!r} does not exist; give a path to a Python file")
    name = f"fewshot_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    _find_siblings(path.resolve(), name, path.resolve().parent)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def import_module(name: str, typed: str) -> ModuleType:
    """Return the module with the dotted name `name`: installed, or in the current folder.

    Args:
        name: of the module.
        typed: the method as the user named it, for the message.

    Raises:
        UserError: no such module.
    """
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        folder = Path.cwd().resolve()
        path = module_file(name, folder)
        if path is not None:
            _find_siblings(path, name, folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and not f"{name}.".startswith(f"{error.name}."):
            raise
        raise UserError(
            f"method {typed!r}: no module named {name!r}; run from the folder that holds it, or give a "
            "file: my_method.py:MyMethod"
        ) from None


def _find_siblings(path: Path, module: str, folder: Path) -> None:
    """Let Python find the modules in `folder` that a user's module imports, directly or indirectly."""

    def is_sibling(_name: str, file: Path) -> bool:
        return file.is_relative_to(folder) and not is_installed(file)

    names = {name.partition(".")[0] for name in imported_files(path, module, is_sibling)}
    known = {name for finder in sys.meta_path if _is_of(finder, folder) for name in finder.names}  # type: ignore[attr-defined]
    sys.meta_path[:] = [finder for finder in sys.meta_path if not _is_of(finder, folder)]
    sys.meta_path.append(SiblingFinder(folder, sorted(names | known)))


def _is_of(finder: object, folder: Path) -> bool:
    return isinstance(finder, SiblingFinder) and finder.folder == folder
