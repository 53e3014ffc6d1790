"""Notes on machines: whether different machines trained or evaluated the cells of one row."""

from __future__ import annotations

from collections.abc import Iterable

from results.records.record import Record
from results.records.record_parts import EnvironmentPart, MachinePart

UNKNOWN = "not known"


def machine_notes(records: Iterable[Record]) -> list[str]:
    """Return a line if different machines evaluated the cells of one row, and one if they differ in training.

    Two machines differ if device, processor, number of threads or version of torch differ: each can change
    the last bits of a number. An unknown fact differs from a known one.
    """
    every = list(records)
    evaluated = {_text(record.environment) for record in every}
    trained = {text for record in every for text in _trained_on(record)}
    return [
        f"MIXED machines: cells were {verb} on {'; '.join(sorted(texts))}"
        for verb, texts in (("evaluated", evaluated), ("trained", trained))
        if len(texts) > 1
    ]


def _trained_on(record: Record) -> list[str]:
    """Return the machines of a record's training in words; [] without training."""
    machines = record.model.trained_on
    return [_text(machine) for machine in machines] or ([UNKNOWN] if record.model.steps else [])


def _text(machine: MachinePart | EnvironmentPart) -> str:
    processor = machine.processor or f"processor {UNKNOWN}"
    threads = f"threads {UNKNOWN}" if machine.threads is None else f"{machine.threads} threads"
    return f"{machine.device} ({processor}, {threads}, torch {machine.torch})"
