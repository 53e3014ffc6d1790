"""Which question a board answers, among all that the records hold."""

from __future__ import annotations

from collections.abc import Iterable

from fewshot.base.atomic_io import canonical_json
from fewshot.base.errors import UserError, unknown_name
from results.records.configuration import question
from results.records.record import Record

DEFAULT_PROTOCOL = "alpnet-ep1"


def question_text(record: Record) -> str:
    """Return dataset, setting, protocol, shots and parts of a record's question."""
    protocol = f"{record.protocol.name} version {record.protocol.version}"
    shots = f"{record.shots} shot" + "s" * (record.shots > 1)
    parts = f"{record.parts} part" + "s" * (record.parts > 1)
    return f"{record.dataset.name}, setting {record.setting}, {protocol}, {shots}, {parts}"


def select_question(
    records: Iterable[Record], dataset: str, setting: int, protocol: str | None = None
) -> tuple[list[Record], list[str]]:
    """Return the records of the board's question, and in words those of the same name left out."""
    every = list(records)
    datasets = {record.dataset.name for record in every}
    if dataset not in datasets:
        raise unknown_name("dataset of the records", dataset, datasets)
    here = [r for r in every if r.dataset.name == dataset and r.setting == setting]
    if not here:
        raise UserError(f"no records of {dataset} in setting {setting}; run it, or ask for the other setting")
    names = {record.protocol.name for record in here}
    name = protocol or (DEFAULT_PROTOCOL if DEFAULT_PROTOCOL in names else min(names))
    if name not in names:
        raise unknown_name(f"protocol of the records of {dataset}, setting {setting}", name, names)
    by_question: dict[str, list[Record]] = {}
    for record in here:
        by_question.setdefault(canonical_json(question(record)), []).append(record)
    asked = [some for some in by_question.values() if some[0].protocol.name == name]
    best = max(
        asked,
        key=lambda some: (some[0].protocol.version, len(some), canonical_json(question(some[0]))),
    )
    others = [some for some in by_question.values() if some is not best]
    told = [f"{len(some)} records of {_difference(some[0], best[0])}" for some in others]
    return best, sorted(told)


def _difference(record: Record, best: Record) -> str:
    """Return in words how one question differs from the board's."""
    texts = []
    for part in ("protocol", "dataset"):
        for key, text in (("name", part), ("version", f"{part} version"), ("hash", f"{part} hash")):
            mine = getattr(getattr(record, part), key, None)
            its = getattr(getattr(best, part), key, None)
            if mine != its:
                texts.append(f"{text} {str(mine)[:16]}: the board is of {str(its)[:16]}")
                break
    for key in ("shots", "parts"):
        mine, its = getattr(record, key), getattr(best, key)
        if mine != its:
            texts.append(f"{mine} {key}: the board has {its}")
    if record.grid != best.grid:
        texts.append("another grid of folds and groups")
    return "; ".join(texts)
