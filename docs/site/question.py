"""A question of the pages (dataset, setting, protocol): its records, file names, heading and curves."""

from __future__ import annotations

from collections.abc import Iterable

from results.records.record import Record
from results.summary.configuration_result import ConfigurationResult
from results.summary.select_records import DEFAULT_PROTOCOL

Question = tuple[str, int, str]  # dataset, setting, protocol


def question_of(record: Record) -> Question:
    """Return the question that a record answers."""
    return record.dataset.name, record.setting, record.protocol.name


def questions(records: Iterable[Record]) -> list[Question]:
    """Return every question of records: by dataset and setting, the default protocol first."""
    found = {question_of(record) for record in records}
    return sorted(found, key=lambda one: (one[0], one[1], one[2] != DEFAULT_PROTOCOL, one[2]))


def stem_of(question: Question) -> str:
    """Return the name of a question's files; that of the default protocol has no protocol in it."""
    dataset, setting, protocol = question
    return f"{dataset}-setting-{setting}" + ("" if protocol == DEFAULT_PROTOCOL else f"-{protocol}")


def title_of(question: Question) -> str:
    """Return a question as a heading."""
    dataset, setting, protocol = question
    return f"{dataset}, setting {setting}, {protocol}"


def models_of(results: Iterable[ConfigurationResult]) -> frozenset[str | None]:
    """Return the keys of the models behind configurations; equal sets are the same models."""
    return frozenset(cell.model.key for result in results for cell in result.cells.values())


def has_curve(records: Iterable[Record]) -> bool:
    """Say whether some record holds the Dice of its candidate checkpoints on a validation scan."""
    selected = [record.model.selected for record in records if record.model.checkpoint == "validation"]
    return any(part is not None and part.dices for part in selected)
