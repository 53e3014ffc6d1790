"""Plain English, checked: no banned phrase in docstrings, help or documents, no abandoned name in code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT

PACKAGES = ("episodes", "fewshot", "baselines", "protocols", "results")
DOCUMENTS = (
    *(path.name for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md"),
    *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)
BANNED = re.compile(
    r"\btold\b|\btells of\b|\btell of\b"
    r"|\basks?\b|\basked\b|\basking\b|\banswers?\b|\banswered\b|\banswering\b"
    r"|\bcomes? to\b|\bcame to\b|\bgoes on\b|\bgo on\b|\bgoing on\b|\btakes? no part\b"
    r"|\b(?:is|are) (?-i:none)\b",
    re.IGNORECASE,
)
OPENINGS = re.compile(r"(?:^|[.!?:]\s+)(?:Of |What is |Where it is none)")
# names that the second plan of the house abandons; a module, class, function or parameter has none of them
MODULES = {
    "asking",
    "ahead",
    "allocator",
    "blocks",
    "compiling",
    "crossed",
    "contact",
    "files_",
    "itk",
    "own_model",
    "own_scans",
    "questions",
    "resident",
    "rows",
    "sheet",
    "square",
    "stepping",
    "together",
    "trained",
    "views",
    "volumes",
    "words",
    "differences",
    "insight",
    "explained",
    "across",
    "layout",
}
NAMES = {
    "Answers",
    "Asked",
    "Block",
    "Insight",
    "Line",
    "Quoted",
    "Told",
    "Together",
    "answer",
    "ask",
    "below",
    "checked",
    "crossed",
    "cut",
    "different",
    "gathered",
    "holding",
    "is_pattern",
    "joined",
    "keep_told",
    "map_of",
    "of_fold",
    "scored",
    "settle",
    "settled_for",
    "settled_options",
    "told_of",
}
PARAMETERS = {"done", "found", "keep", "one", "own", "some", "told", "wanted", "whole"}


def modules() -> list[Path]:
    """Return every module of the packages."""
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of the docstrings and help texts of a module, or of a document's prose."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        prose = re.sub(
            r"```.*?```|`[^`]*`", lambda match: "\n" * match.group().count("\n"), source, flags=re.S
        )
        yield from enumerate(prose.splitlines(), start=1)
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring is not None:
                yield getattr(node, "lineno", 1), re.sub(r"`[^`]*`", "", docstring)
        elif isinstance(node, ast.keyword) and node.arg in ("help", "description", "epilog"):
            for part in ast.walk(node.value):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.lineno, part.value


def faults(path: Path) -> list[str]:
    """Return every banned phrase of a file with its line."""
    return [
        f"{path.relative_to(ROOT)}:{line}: {match.group().strip()!r}"
        for line, text in texts(path)
        for match in (*BANNED.finditer(text), *OPENINGS.finditer(text))
    ]


def abandoned(path: Path) -> list[str]:
    """Return every abandoned name that a module defines."""
    found = [f"module {path.stem}"] if path.stem in MODULES else []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name in NAMES:
            found.append(f"{node.name}, line {node.lineno}")
        if isinstance(node, ast.arg) and node.arg in PARAMETERS:
            found.append(f"parameter {node.arg}, line {node.lineno}")
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_and_help_are_plain(path: Path) -> None:
    assert faults(path) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_are_plain(name: str) -> None:
    assert faults(ROOT / name) == []


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_abandoned_name_is_left(path: Path) -> None:
    assert abandoned(path) == []


@pytest.mark.parametrize("text", ["A thing that is told.", "It goes on.", "Of these, one.", "there is none"])
def test_a_banned_phrase_is_caught(text: str) -> None:
    assert BANNED.search(text) or OPENINGS.search(text)
