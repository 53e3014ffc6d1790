"""Digests of code: the same for the same computation, another for another."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewshot.base.errors import UserError
from fewshot.identity.source_digest import imported_files, is_installed, module_file, tree_digest

CODE = '''
"""A module."""
import math

LIMIT = 3


def area(radius: float) -> float:
    """Return the area."""
    return math.pi * radius**2  # mm2
'''


@pytest.mark.parametrize(
    "edited",
    [
        CODE.replace("Return the area.", "Give the area of a disc, in mm2."),
        CODE.replace('"""A module."""\n', ""),
        CODE.replace("  # mm2", ""),
        CODE.replace("radius**2", "(radius ** 2)"),
        CODE.replace("LIMIT = 3\n", 'LIMIT = 3\n"""At most so many."""\n\n\n'),
    ],
)
def test_docstrings_comments_and_layout_leave_the_digest(edited: str) -> None:
    assert edited != CODE
    assert tree_digest(edited) == tree_digest(CODE)


@pytest.mark.parametrize(
    "edited",
    [
        CODE.replace("LIMIT = 3", "LIMIT = 4"),
        CODE.replace("radius**2", "radius**3"),
        CODE.replace("math.pi", "3.0"),
        CODE.replace("LIMIT = 3", "LIMIT = 3.0"),
        CODE.replace("LIMIT = 3", "LIMIT = True"),
        CODE + "LIMIT += 1\n",
    ],
)
def test_another_computation_has_another_digest(edited: str) -> None:
    assert tree_digest(edited) != tree_digest(CODE)


def test_code_that_cannot_be_parsed_names_file_and_line() -> None:
    with pytest.raises(UserError, match=r"mine\.py, line 2: not Python code"):
        tree_digest("x = 1\ndef f(:\n", "mine.py")


def test_imports_are_followed_through_functions_packages_and_names(tmp_path: Path) -> None:
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "__init__.py").write_text("from .inner import value\n")
    (tmp_path / "kit" / "inner.py").write_text("value = 1\n")
    (tmp_path / "late.py").write_text("import json\n")
    (tmp_path / "named.py").write_text("x = 2\n")
    (tmp_path / "mine.py").write_text(
        "import importlib\nimport numpy\nfrom kit import value\n\n\ndef f():\n    import late\n"
        "    return importlib.import_module('named')\n"
    )
    files = imported_files(
        tmp_path / "mine.py", "mine", lambda _name, file: file.is_relative_to(tmp_path.resolve())
    )
    assert set(files) == {"mine", "kit", "kit.inner", "late", "named"}


def test_installed_files_are_told_from_own_ones(tmp_path: Path) -> None:
    numpy, json = module_file("numpy"), module_file("json")
    assert numpy is not None
    assert json is not None
    assert is_installed(numpy)
    assert is_installed(json)
    assert not is_installed(tmp_path / "mine.py")
    assert module_file("no_such_module_anywhere") is None
    assert module_file("sys") is None
