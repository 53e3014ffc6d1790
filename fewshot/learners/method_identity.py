"""Identity of a method in keys and records: a version for the project's own, a digest for a user's file.

The project's methods have `version` in their file. A user's method has a digest. It covers the syntax trees,
without docstrings, of its file and of every imported module outside installed packages. It also covers the
versions of the project's methods that such a file imports.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import typing
from collections.abc import Hashable
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast, get_origin, get_type_hints

from fewshot.base.errors import UserError
from fewshot.files.atomic_io import sha256_of
from fewshot.identity.source_digest import combined_digest, file_digest, imported_files, is_installed
from fewshot.learners.registry import BUILT_IN, resolve_method

HOME = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("baselines", "episodes", "fewshot", "protocols", "results")
MOST_FILES = 2000  # files in a folder that an option names


def built_in_name(learner: type[Any]) -> str | None:
    """Return the registry's name of one of the project's own methods, else None."""
    target = f"{learner.__module__}:{learner.__qualname__}"
    return next((name for name, value in BUILT_IN.items() if value == target), None)


def method_name(typed: str, learner: type[Any]) -> str:
    """Return a method's name in records.

    A method of the project has its registry name, however the user typed it. A method in a user's file has
    the file's base name and the class name.
    """
    built_in = built_in_name(learner)
    if built_in is not None:
        return built_in
    module, separator, class_name = typed.rpartition(":")
    return f"{Path(module).name}:{class_name}" if separator and module.endswith(".py") else typed


def method_version(learner: type[Any]) -> int | None:
    """Return the version of one of the project's methods; None for a user's class.

    Raises:
        TypeError: a method of the project does not define an integer `version` itself.
    """
    if built_in_name(learner) is None:
        return None
    version = vars(learner).get("version")
    if not isinstance(version, int):
        raise TypeError(f"{learner.__module__}.{learner.__qualname__} states no integer `version` of its own")
    return version


def method_source(learner: type[Any]) -> str | None:
    """Return the digest, 16 hex digits, of a user's class; None for the project's methods.

    Raises:
        UserError: the class has no file, for example a class typed at a prompt.
    """
    return None if built_in_name(learner) is not None else _user_source(cast(Hashable, learner))


@functools.cache
def _user_source(learner: Any) -> str:
    try:
        path = Path(inspect.getfile(learner)).resolve()
    except (OSError, TypeError):
        raise UserError(
            f"method {learner.__qualname__} lies in no file, so results could not tell its versions apart; "
            "write it to a file and give FILE.py:CLASS"
        ) from None
    own_package = learner.__module__.partition(".")[0]
    project_modules = set()

    def follows(name: str, file: Path) -> bool:
        if is_project_file(file):
            project_modules.add(name)
            return False
        return name.partition(".")[0] == own_package or not is_installed(file)

    files = imported_files(path, learner.__module__, follows)
    versions = [
        hashlib.sha256(f"{name} {method_version(resolve_method(name))}".encode()).hexdigest()
        for name, target in BUILT_IN.items()
        if any(_is_in(target.partition(":")[0], module) for module in project_modules)
    ]
    return combined_digest([*(file_digest(file) for file in files.values()), *versions])


def _is_in(module: str, package: str) -> bool:
    """Whether a module is `package` or lies in it; `baselines` itself contains no method."""
    return module == package or (package != "baselines" and module.startswith(f"{package}."))


def is_project_file(path: Path) -> bool:
    """Whether a file lies in one of the project's packages."""
    return any(path.is_relative_to(HOME / package) for package in PACKAGES)


def option_files(options: Any) -> dict[str, str]:
    """Return option -> sha256 of the content, for every option whose text names an existing file or folder.

    A `Literal` option never names a file. A text without a path separator names a folder only if its field
    has the metadata `PATH`: else it may be a word that is also a folder's name. A tuple of texts has one
    digest, over its files in order.

    Args:
        options: the dataclass of a method's options.

    Raises:
        UserError: a folder has more than 2,000 files.
    """
    if not is_dataclass(options) or isinstance(options, type):
        return {}
    digests = {}
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name in _fixed_words(type(options)):
            continue
        texts = [value] if isinstance(value, str) else list(value) if isinstance(value, tuple) else []
        always = bool(field.metadata.get("path"))
        contents = [
            content for text in texts if isinstance(text, str) and (content := _content_digest(text, always))
        ]
        if contents:
            joined = contents[0] if isinstance(value, str) else "".join(contents)
            digests[field.name] = (
                joined if isinstance(value, str) else hashlib.sha256(joined.encode()).hexdigest()
            )
    return digests


@lru_cache(maxsize=256)
def _fixed_words(options: type[Any]) -> frozenset[str]:
    """Return the names of the options whose values are fixed words."""
    hints = get_type_hints(options)
    return frozenset(field.name for field in fields(options) if _is_fixed_word(hints[field.name]))


def _is_fixed_word(hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return True
    return any(_is_fixed_word(part) for part in typing.get_args(hint) if part is not type(None))


def _content_digest(text: str, always: bool) -> str | None:
    """Return the sha256 of the file or folder that a text names; None if neither exists.

    `always`: the text names a folder also without a path separator.
    """
    if not text or "\0" in text:
        return None
    path = Path(text)
    try:
        if path.is_file():
            return sha256_of(path)
        if not path.is_dir() or not (always or "/" in text or "\\" in text):
            return None
    except OSError:  # a text too long to be a path names no file
        return None
    files = sorted(file for file in path.rglob("*") if file.is_file())
    if len(files) > MOST_FILES:
        raise UserError(
            f"option {text!r} names a folder of {len(files)} files, expected at most {MOST_FILES}, since "
            "results depend on their content; name a smaller folder"
        )
    lines = [f"{file.relative_to(path).as_posix()} {sha256_of(file)}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
