"""Rules cited in code stand in docs/, each once, and no code cites a document that the repository lacks."""

from __future__ import annotations

import dataclasses
import io
import re
import tokenize
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

DOCS = ROOT / "docs"
FOLDERS = ("fewshot", "episodes", "baselines", "protocols", "results", "bench", "tests")
FAMILY = (
    "P|M-[A-Z]{3}|ADNET|QNET|SUPERVOXEL|EPISODE|AUGMENT|RPT|GMRD|UNIVERSEG|FOUNDATION|TMUNET|MPTPN|IMMSEG"
)

RULE = re.compile(rf"\b(?:{FAMILY})-[1-9][0-9]*\b")
RULE_LIKE = re.compile(r"(?<!-)\b[A-Z]{4,}-[1-9][0-9]*\b")  # of any family, listed above or not
DEFINED = re.compile(rf"^ *- \*\*((?:{FAMILY})-[0-9]+)\*\*", re.MULTILINE)
RANGE = re.compile(rf"\b((?:{FAMILY})-)([1-9][0-9]*) (?:to|\.\.)\s+\1([1-9][0-9]*)\b")
DOCUMENT = re.compile(r"\b[A-Za-z0-9_./-]+\.md\b")
SHOUTED = re.compile(r"\b(?:METHODS|PROTOCOLS|DESIGN|REDESIGN)(?:_\d)?\b")
NUMBERED = re.compile(r"\brules? [0-9]+\b")  # of a list that has no place


def prose(source: str) -> Iterator[str]:
    """Yield the comments and texts of a Python file: where documents are cited."""
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in kinds:
            yield token.string


def unshipped(text: str) -> list[str]:
    """Return the citations in a text that lead to no document of the repository."""
    lost = [name for name in DOCUMENT.findall(text) if "/" in name and not (ROOT / name).is_file()]
    lost += [name for name in DOCUMENT.findall(text) if Path(name).stem.isupper() and name not in shipped()]
    return [*lost, *SHOUTED.findall(text), *NUMBERED.findall(text)]


@cache
def shipped() -> set[str]:
    """Return the names of the repository's documents."""
    return {path.name for folder in (ROOT, DOCS, ROOT / "results") for path in folder.glob("*.md")}


def files(folders: tuple[str, ...]) -> list[Path]:
    """Return the Python and TOML files of some folders, this one left out."""
    found = [
        path
        for folder in folders
        for ending in ("py", "toml")
        for path in (ROOT / folder).rglob(f"*.{ending}")
    ]
    return sorted(path for path in found if path != Path(__file__).resolve())


@cache
def texts(path: Path) -> list[str]:
    """Return what of a file may cite: the prose of Python, all of TOML."""
    source = path.read_text(encoding="utf-8")
    return list(prose(source)) if path.suffix == ".py" else [source]


def defined() -> list[str]:
    """Return the ids of all rules in docs/, in order."""
    return [rule for path in sorted(DOCS.glob("*.md")) for rule in DEFINED.findall(path.read_text("utf-8"))]


def test_every_rule_has_one_place() -> None:
    found = defined()
    assert len(found) > 130
    assert sorted(found) == sorted(set(found))


def test_numbers_of_a_family_have_no_gap() -> None:
    families: dict[str, list[int]] = {}
    for rule in defined():
        family, _, number = rule.rpartition("-")
        families.setdefault(family, []).append(int(number))
    assert {
        family: numbers for family, numbers in families.items() if numbers != [*range(1, 1 + len(numbers))]
    } == {}


def test_the_index_names_every_family() -> None:
    for name in ("methods.md", "protocols.md"):
        text = (DOCS / name).read_text(encoding="utf-8")
        index = text[: DEFINED.search(text).start()]  # type: ignore[union-attr]
        for family in {rule.rpartition("-")[0] for rule in DEFINED.findall(text)}:
            assert re.search(rf"\b{family}\b", index), f"{name} has rules {family} that its index lacks"


@pytest.mark.parametrize("folder", FOLDERS)
def test_cited_rules_exist(folder: str) -> None:
    known = set(defined())
    cited = {rule: path for path in files((folder,)) for text in texts(path) for rule in RULE.findall(text)}
    assert {rule: str(path) for rule, path in cited.items() if rule not in known} == {}


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_code_cites_a_family_without_rules(folder: str) -> None:
    known = set(defined())
    cited = {
        rule: path for path in files((folder,)) for text in texts(path) for rule in RULE_LIKE.findall(text)
    }
    assert {rule: str(path) for rule, path in cited.items() if rule not in known} == {}


def test_a_citation_of_an_unlisted_family_is_seen() -> None:
    assert RULE_LIKE.findall("rule NEWNET-3, not UTF-8") == ["NEWNET-3"]


def test_documents_cite_rules_that_exist() -> None:
    known = set(defined())
    for path in (*ROOT.glob("*.md"), *DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        for rule in (*RULE.findall(text), *RULE_LIKE.findall(text)):
            assert rule in known, f"{path.name} cites {rule}"


def test_documents_name_code_that_exists() -> None:
    for path in (*ROOT.glob("*.md"), *DOCS.glob("*.md")):
        named = re.findall(
            r"`((?:fewshot|episodes|baselines|protocols|results)/[a-z_/]+\.py)`", path.read_text("utf-8")
        )
        assert [name for name in named if not (ROOT / name).is_file()] == [], (
            f"{path.name} names files that are gone"
        )


def test_the_ends_of_a_range_are_in_order() -> None:
    for path in files(FOLDERS):
        for text in texts(path):
            for _family, first, last in RANGE.findall(text):
                assert int(first) < int(last), f"{path}: {first} to {last}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_code_cites_what_is_not_shipped(folder: str) -> None:
    found = {
        str(path): lost for path in files((folder,)) for text in texts(path) if (lost := unshipped(text))
    }
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        "PROTOCOLS.md rule 4",
        "METHODS, section 4",
        "The schema is DESIGN's",
        "as METHODS_2.md says",
        "(Q-Net family, rule 2)",
        "docs/nowhere.md",
        "SPEED.md",
    ],
)
def test_a_citation_of_nothing_is_seen(text: str) -> None:
    assert unshipped(text)


@pytest.mark.parametrize(
    "text", ["docs/methods.md, M-ALP-1", "ARCHITECTURE.md", "the part rule", "board.md", "P-4"]
)
def test_a_citation_of_what_is_shipped_is_let_be(text: str) -> None:
    assert not unshipped(text)


def test_code_names_are_no_citations() -> None:
    assert list(prose("METHODS = {}  # by name\n")) == ["# by name"]


def record_keys(part: type[Any], prefix: str = "") -> Iterator[str]:
    """Yield every key of a record, with those of its parts as part.key."""
    kinds = typing.get_type_hints(part)
    for field in dataclasses.fields(part):
        key = prefix + field.metadata.get("key", field.name)
        yield key
        for inner in _parts(kinds[field.name]):
            yield from record_keys(inner, f"{key}.")


def _parts(kind: Any) -> list[Any]:
    if dataclasses.is_dataclass(kind):
        return [kind]
    return [part for inner in typing.get_args(kind) for part in _parts(inner)]


def test_the_page_describes_every_key_of_a_record_and_no_other() -> None:
    record = pytest.importorskip("results.records.record", reason="records are still schema 1")
    text = (DOCS / "records.md").read_text(encoding="utf-8")
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    described = {key for cell in cells for key in re.findall(r"`([a-z0-9_.]+)`", cell)}
    objects = {"protocol", "dataset", "grid", "method", "model", "training", "scores", "environment"}
    keys = set(record_keys(record.Record))
    assert described == keys - objects | {"seal"}
