"""Digests of Python code that do not depend on docstrings, comments, layout or the file's place.

A digest hashes the syntax tree without docstrings and other bare strings. It omits empty fields, so Python
3.11 to 3.13 give the same digest.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import importlib.util
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from fewshot.base.errors import UserError, short
from fewshot.files.input_files import read_text

DIGITS = 16


def tree_digest(source: str, where: str = "code") -> str:
    """Return 64 hex digits of the sha256 of the syntax tree of `source` without docstrings.

    Raises `UserError` with `where` and the line for code that Python cannot parse.
    """
    tree = parse_python(source, where)
    try:
        return hashlib.sha256("".join(_canonical(tree)).encode("utf-8", "surrogatepass")).hexdigest()
    except RecursionError:
        raise UserError(f"{where}: code nested too deeply; mend it") from None


def parse_python(source: str, where: str) -> ast.Module:
    """Return the syntax tree of `source`; `UserError` with `where` and the line if Python cannot parse it."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        place = f"{where}, line {line}" if line else where
        reason = short(getattr(error, "msg", error) or "nested too deeply")
        raise UserError(f"{place}: not Python code ({reason}); mend it") from None


def file_digest(path: Path) -> str:
    """Return the digest of a Python file's syntax tree, or of the bytes of any other file."""
    if path.suffix == ".py":
        return tree_digest(read_text(path, "mend it"), str(path))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def combined_digest(digests: Iterable[str]) -> str:
    """Return 16 hex digits that identify a set of digests; order and repetition do not matter."""
    return hashlib.sha256("\n".join(sorted(set(digests))).encode()).hexdigest()[:DIGITS]


def imported_files(
    path: Path,
    module: str,
    follows: Callable[[str, Path], bool],
    find: Callable[[str, Path], Path | None] | None = None,
) -> dict[str, Path]:
    """Return name -> file of a module and of all modules that it imports, directly or indirectly.

    Imports inside functions count, and so do literal names in calls of `importlib.import_module` and
    `__import__`. A name computed at run time does not.

    Args:
        path: the module's file.
        module: its dotted name, which resolves relative imports.
        follows: returns, for the name and file of an imported module, whether the result includes it. The
            imports of an excluded module are not followed.
        find: returns the file of a dotted name, given the folder of the first module; default: `module_file`.
    """
    find = find or module_file
    levels = module.count(".") + (path.name == "__init__.py")
    home = [path.parent, *path.parent.parents][levels]  # folder in which `import` finds the module
    files = {module: path}
    queue = [(module, path)]
    while queue:
        name, file = queue.pop()
        if file.suffix != ".py":
            continue
        is_package = file.name == "__init__.py"
        for imported in _imports(read_text(file, "mend it"), name, is_package, str(file)):
            if imported in files:
                continue
            origin = find(imported, home)
            if origin is not None and follows(imported, origin):
                files[imported] = origin
                queue.append((imported, origin))
    return files


def module_file(name: str, folder: Path | None = None) -> Path | None:
    """Return the file of the module with the dotted name `name`; None if it is built in or does not exist.

    Nothing is imported: a loaded module gives its own file, others are searched in `sys.path` and then in
    `folder`.
    """
    loaded = sys.modules.get(name)
    if loaded is not None:
        origin = getattr(loaded, "__file__", None)
        return Path(origin).resolve() if origin else None
    search: list[str] | None = None
    spec: importlib.machinery.ModuleSpec | None = None
    parts = name.split(".")
    for number, _part in enumerate(parts):
        beginning = ".".join(parts[: number + 1])
        spec = importlib.machinery.PathFinder.find_spec(beginning, search)
        if spec is None and number == 0 and folder is not None:
            spec = importlib.machinery.PathFinder.find_spec(beginning, [str(folder)])
        if spec is None:
            return None
        search = list(spec.submodule_search_locations or [])
    return Path(spec.origin).resolve() if spec is not None and spec.has_location and spec.origin else None


def is_installed(path: Path) -> bool:
    """Return whether a file belongs to Python's standard library or to an installed package."""
    paths = sysconfig.get_paths()
    homes = {Path(paths[key]).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    return any(path.is_relative_to(home) for home in homes) or "site-packages" in path.parts


@lru_cache(maxsize=1024)
def _imports(source: str, module: str, is_package: bool, where: str) -> tuple[str, ...]:
    """Return, in order, the dotted names that code imports; a name after `from` may be an attribute."""
    return tuple(sorted(set(_imported_names(parse_python(source, where), module, is_package))))


def _imported_names(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            if base:
                yield from _with_parents(base)
                yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call) and _is_import_call(node.func) and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield from _with_parents(first.value)


def _is_import_call(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("import_module", "__import__")


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[: number + 1]) for number in range(len(parts)))


def _canonical(value: Any) -> Iterator[str]:
    """Yield the text of a node: its class and non-empty fields, without positions and docstrings."""
    if isinstance(value, ast.AST):
        yield f"({type(value).__name__}"
        for name, item in ast.iter_fields(value):
            if item is None or item == [] or name in ("type_comment", "kind"):
                continue
            yield f" {name}="
            yield from _canonical(item)
        yield ")"
    elif isinstance(value, list):
        yield "["
        for item in value:
            if not _is_bare_text(item):
                yield from _canonical(item)
        yield "]"
    else:
        yield f"{type(value).__name__}:{value!r}"


def _is_bare_text(node: Any) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
