"""Python files of users: imported so that a mistake in them is one line with the file's line."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from fewshot.base.errors import UserError, short
from fewshot.base.input_files import check_file


def import_file(path: Path) -> ModuleType:
    """Return the module in a Python file, executed anew.

    Raises `UserError` if the file is missing, or with its line if Python cannot run it.
    """
    check_file(path, "give a path to a Python file")
    spec = importlib.util.spec_from_file_location(f"fewshot_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file; give a path that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        run_user_code(lambda: spec.loader.exec_module(module), str(path))  # type: ignore[union-attr]
    except UserError:
        del sys.modules[spec.name]
        raise
    return module


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
