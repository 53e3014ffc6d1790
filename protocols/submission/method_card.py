"""The method card: a TOML file in which the people behind a result say what their method is.

`card_template` fills in what records hold. People fill in the other lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewshot.base.errors import HIDDEN, short
from fewshot.files.input_files import read_toml
from results.records.configuration import configuration_id
from results.records.record import Record

FROM_RECORDS = ("method", "configuration", "regime", "labels_used")
MEANINGS = {  # lines that people fill in, with what belongs there
    "title": "name of the method in tables and papers",
    "summary": "what the method does, in one to three sentences",
    "authors": "names of the authors, with commas",
    "contact": "an address or a URL for questions",
    "paper": 'URL of the paper, or "none"',
    "code": 'URL of the code, or "none"',
    "licence": 'licence of code and weights, or "none"',
    "training_data": "every set of images that some weight saw, before this benchmark too",
    "choices": "steps, thresholds and checkpoint: what was chosen, on which scans",
    "limits": "where the method fails or must not be used",
}
URLS = ("paper", "code")
MOST = 2000  # characters of a line
NOT_PLAIN = re.compile(f"[<>\\t\\n]|{HIDDEN.pattern}")


def facts_of(record: Record) -> dict[str, str]:
    """Return the lines of a card that follow from a record."""
    return {
        "method": record.method.name,
        "configuration": configuration_id(record),
        "regime": record.method.regime,
        "labels_used": record.method.labels_used,
    }


def card_template(record: Record) -> str:
    """Return the TOML text of a card whose facts are filled in and whose other lines are empty."""
    lines = ["# Facts of the records: leave these lines as they are."]
    lines += [f"{name} = {_quoted(value)}" for name, value in facts_of(record).items()]
    lines += ["", "# Fill in every line below."]
    for name, meaning in MEANINGS.items():
        lines += [f"# {meaning}", f'{name} = ""']
    return "\n".join(lines)


def card_text(card: Mapping[str, str]) -> str:
    """Return a card as TOML."""
    return "\n".join(f"{name} = {_quoted(card[name])}" for name in (*FROM_RECORDS, *MEANINGS)) + "\n"


def read_card(path: Path) -> dict[str, Any]:
    """Return the content of a card's file, unchecked; `UserError` if it is no TOML."""
    return read_toml(path, "write a new card with fewshot submit-result --write-card")


def card_faults(card: Any, record: Record) -> list[str]:
    """Return a line for each fault of a card: a missing, unknown or empty line, or one unlike the records."""
    if not isinstance(card, dict):
        return [f"method card: it is a {type(card).__name__}, expected a table; write it with --write-card"]
    known = (*FROM_RECORDS, *MEANINGS)
    faults = [
        f"method card: unknown line {short(repr(name))}, expected {', '.join(known)}; remove it"
        for name in card
        if name not in known
    ]
    facts = facts_of(record)
    for name in known:
        value = card.get(name)
        if not isinstance(value, str) or not value.strip():
            meaning = MEANINGS.get(name, f"{facts.get(name)!r}, as in the records")
            found = "missing or empty" if value is None or value == "" else f"{short(repr(value))}"
            faults.append(f"method card: {name} is {found}, expected text: {meaning}; fill it in")
        elif len(value) > MOST or NOT_PLAIN.search(value):
            faults.append(
                f"method card: {name} has markup, control characters or more than {MOST} characters, "
                "expected one line of plain text; shorten it"
            )
        elif name in facts and value != facts[name]:
            faults.append(
                f"method card: {name} is {short(repr(value))}, the records have {facts[name]!r}; write the "
                "card again with --write-card"
            )
        elif name in URLS and value != "none" and not value.startswith(("https://", "http://")):
            faults.append(
                f'method card: {name} is {short(repr(value))}, expected a URL or "none"; write the full URL'
            )
    return faults


def _quoted(text: str) -> str:
    """Return a basic TOML string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
