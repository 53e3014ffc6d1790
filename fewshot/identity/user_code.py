"""A user's own method: the file or module named on the command line, and modules beside it that it imports.

The current folder is no place that Python imports from (as under `python -P`): there may be a `yaml.py` in a
folder of data. So a named file is loaded from its path. Python finds a module beside it only if the user's
own code imports it by name and no installed module has that name. All are compiled from their sources
(`fewshot/identity/source_loader.py`). A mistake in the code is one line with the file's line.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from fewshot.base.errors import UserError, short
from fewshot.files.input_files import check_file
from fewshot.identity.source_digest import imported_files, is_installed, module_file
from fewshot.identity.source_loader import SourceLoader, load_from_source


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


def import_file(path: Path) -> ModuleType:
    """Return the module in a Python file, executed anew.

    Raises `UserError` if the file is missing, or with its line if Python cannot run it.
    """
    check_file(path, "give a path to a Python file")
    if path.suffix != ".py":
        raise UserError(f"{path} is not a Python file; give a path that ends in .py")
    name = f"fewshot_user_{path.stem}"
    loader = SourceLoader(name, str(path.absolute()))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    _find_siblings(path.resolve(), spec.name, path.resolve().parent)
    sys.modules[spec.name] = module
    try:
        run_user_code(lambda: loader.exec_module(module), str(path))
    except UserError:
        del sys.modules[spec.name]
        raise
    return module


def import_module(name: str, typed: str) -> ModuleType:
    """Return the module with the dotted name `name`: installed, or in the current folder.

    Args:
        name: of the module.
        typed: the method as the user named it, for the message.

    Raises:
        UserError: no such module, or Python cannot run it; the message names the line.
    """
    top = name.partition(".")[0]
    if top == "baselines":
        return importlib.import_module(name)
    missing = UserError(
        f"method {short(repr(typed))}: no module named {short(repr(name))}; run from the folder that holds "
        "it, or give a file: my_method.py:MyMethod"
    )
    if not all(part.isidentifier() for part in name.split(".")):
        raise missing
    if top not in sys.modules and importlib.util.find_spec(top) is None:
        folder = Path.cwd().resolve()
        path = module_file(name, folder)
        if path is not None:
            _find_siblings(path, name, folder)
    spec = None if top in sys.modules else importlib.util.find_spec(top)
    if spec and spec.has_location and spec.origin:
        load_from_source(_home_of(Path(spec.origin).resolve()))
    try:
        run_user_code(lambda: importlib.import_module(name), (spec and spec.origin) or name)
    except UserError as error:
        cause = error.__cause__
        absent = cause.name if isinstance(cause, ModuleNotFoundError) else None
        if absent is not None and f"{name}.".startswith(f"{absent}."):
            raise missing from None
        raise
    return sys.modules[name]


def run_user_code(run: Callable[[], object], where: str) -> None:
    """Call `run`, which executes a user's file or module; every error in it becomes a `UserError`.

    Args:
        run: executes the code.
        where: the file or module, for messages.

    Raises:
        UserError: the code raised an exception or called `sys.exit`; the message names the line.
    """
    try:
        run()
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever a user's code raises, SystemExit included
        raise UserError(f"{_place(error, where)}: {_cause(error)}; mend it there") from error


def exit_place(error: SystemExit) -> str:
    """Return "FILE, line N" of the call of `sys.exit` that raised `error`."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else "the program"


def _find_siblings(path: Path, module: str, folder: Path) -> None:
    """Let Python find the modules in `folder` that a user's module imports, directly or indirectly."""
    load_from_source(folder)

    def is_sibling(_name: str, file: Path) -> bool:
        return file.is_relative_to(folder) and not is_installed(file)

    names = {name.partition(".")[0] for name in imported_files(path, module, is_sibling)}
    known = {name for finder in sys.meta_path if _is_of(finder, folder) for name in finder.names}  # type: ignore[attr-defined]
    sys.meta_path[:] = [finder for finder in sys.meta_path if not _is_of(finder, folder)]
    sys.meta_path.append(SiblingFinder(folder, sorted(names | known)))


def _home_of(origin: Path) -> Path:
    """Return the folder that holds a top-level module or package, given its file."""
    return origin.parent.parent if origin.name == "__init__.py" else origin.parent


def _is_of(finder: object, folder: Path) -> bool:
    return isinstance(finder, SiblingFinder) and finder.folder == folder


def _place(error: BaseException, where: str) -> str:
    """Return file and line of the mistake: the line that cannot be parsed, else the last line in `where`."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f"{error.filename or where}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if Path(frame.filename).name == Path(where).name] or [
        frame for frame in frames if "importlib" not in frame.filename and frame.filename != __file__
    ]
    return f"{inside[-1].filename}, line {inside[-1].lineno}" if inside else where


def _cause(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return "it calls sys.exit, expected a file that defines a method"
    if isinstance(error, ModuleNotFoundError):
        return f"it imports {error.name}, which is not installed"
    text = short(error.msg if isinstance(error, SyntaxError) else error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
