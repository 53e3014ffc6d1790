"""BibTeX of methods and datasets, from `results/data/citations.toml`; unknown fields are left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from fewshot.base.errors import UserError
from fewshot.files.input_files import read_toml
from results.records.record import Record
from results.tables.latex import tex_text

CITATIONS = Path(__file__).resolve().parent.parent / "data" / "citations.toml"
TYPES = ("article", "inproceedings", "misc")
REQUIRED = ("key", "type", "author", "title", "year")
FIELDS = ("author", "title", "journal", "booktitle", "volume", "year", "eprint", "doi", "note")  # as printed


def read_citations(path: Path = CITATIONS) -> dict[str, dict[str, str]]:
    """Return name of a method or dataset -> its facts; `UserError` for an unknown field or a missing one."""
    citations = read_toml(path)
    for name, facts in citations.items():
        unknown = set(facts) - {"key", "type", *FIELDS}
        missing = set(REQUIRED) - set(facts)
        if unknown or missing or facts["type"] not in TYPES:
            raise UserError(
                f"{path}: {name} has unknown fields {sorted(unknown)}, lacks {sorted(missing)}, or its type "
                f"is none of {', '.join(TYPES)}; mend the entry"
            )
    return citations


def bibtex(name: str, facts: Mapping[str, str]) -> str:
    """Return one entry; a comment above it names the method or dataset."""
    fields = {key: facts[key] for key in FIELDS if key in facts}
    lines = [f"  {key} = {{{_braced(key, value)}}}," for key, value in fields.items()]
    if "eprint" in fields:
        lines.append("  archivePrefix = {arXiv},")
    return "\n".join([f"% {name}", f"@{facts['type']}{{{facts['key']},", *lines, "}"])


def names_of(records: Iterable[Record]) -> list[str]:
    """Return the methods and datasets of records, each once, methods first."""
    every = list(records)
    methods = dict.fromkeys(record.method.name for record in every)
    datasets = dict.fromkeys(
        part.name for record in every for part in (record.dataset, record.train_dataset) if part is not None
    )
    return [*methods, *datasets]


def _braced(key: str, value: str) -> str:
    """Return a value of BibTeX; braces keep the capitals of a title."""
    return f"{{{tex_text(value)}}}" if key == "title" else value
