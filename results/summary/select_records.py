"""Selection of the records of one question for a board."""

from __future__ import annotations

from collections.abc import Iterable

from fewshot.base.errors import UserError, unknown_name
from fewshot.files.atomic_io import canonical_json
from results.records.configuration import question
from results.records.record import Record

DEFAULT_PROTOCOL = "alpnet-ep1"


def question_text(record: Record) -> str:
    """Return dataset, setting, protocol, shots and parts of a record, in words."""
    protocol = f"{record.protocol.name} version {record.protocol.version}"
    shots = f"{record.shots} shot" + "s" * (record.shots > 1)
    parts = f"{record.parts} part" + "s" * (record.parts > 1)
    return f"{record.dataset.name}, setting {record.setting}, {protocol}, {shots}, {parts}"


def select_question(
    records: Iterable[Record], dataset: str, setting: int, protocol: str | None = None
) -> tuple[list[Record], list[str]]:
    """Return the records of one question, and a line for each other question that was left out.

    The question has the newest version of the protocol; among several, the one with the most records wins.

    Args:
        records: records of any question.
        dataset, setting: the dataset's name and the setting of the board.
        protocol: a protocol's name; by default `alpnet-ep1`, or the first by alphabet if no record has that.

    Raises:
        UserError: no record has this dataset, setting or protocol.
    """
    every = list(records)
    datasets = {record.dataset.name for record in every}
    if dataset not in datasets:
        raise unknown_name("dataset of the records", dataset, datasets)
    here = [r for r in every if r.dataset.name == dataset and r.setting == setting]
    if not here:
        raise UserError(f"no records of {dataset} in setting {setting}; run it, or give the other setting")
    names = {record.protocol.name for record in here}
    name = protocol or (DEFAULT_PROTOCOL if DEFAULT_PROTOCOL in names else min(names))
    if name not in names:
        raise unknown_name(f"protocol of the records of {dataset}, setting {setting}", name, names)
    by_question: dict[str, list[Record]] = {}
    for record in here:
        by_question.setdefault(canonical_json(question(record)), []).append(record)
    candidates = [group for group in by_question.values() if group[0].protocol.name == name]
    best = max(
        candidates,
        key=lambda group: (group[0].protocol.version, len(group), canonical_json(question(group[0]))),
    )
    others = [group for group in by_question.values() if group is not best]
    left_out = [f"{len(group)} records of {_difference(group[0], best[0])}" for group in others]
    return best, sorted(left_out)


def _difference(record: Record, best: Record) -> str:
    """Return the differences between the question of a record and the board's, in words."""
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
