"""Two records of one cell compared: are their numbers equal, and which of their conditions differ?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from results.records.record import Record
from results.records.record_parts import MachinePart, ModelPart, Score

MOST_LISTED = 3  # scores that a line names


@dataclass(frozen=True)
class RecordDiff:
    """The differences between a record and the record that a second run of its cell wrote.

    Attributes:
        numbers: a line for each kind of number that differs; empty if all are equal.
        conditions: a line for each condition that differs or that a record does not state.
    """

    numbers: tuple[str, ...]
    conditions: tuple[str, ...]

    @property
    def is_equal(self) -> bool:
        """Return whether every number is equal."""
        return not self.numbers


def compare_records(record: Record, remade: Record) -> RecordDiff:
    """Return the differences of two records of one cell.

    Numbers are the scores with their counts, the fallback slices, and the checkpoint that a policy chose with
    the Dice of its candidates. Conditions are protocol, data, pseudo-labels, method, versions of shared
    parts, weights, libraries, threads, processor, device and program.
    """
    numbers = (*_score_lines(record.scores, remade.scores), *_number_lines(record, remade))
    return RecordDiff(numbers, tuple(_condition_lines(record, remade)))


def _score_lines(ours: tuple[Score, ...], theirs: tuple[Score, ...]) -> Iterator[str]:
    before = {(score.class_name, score.scan, score.supports): score for score in ours}
    after = {(score.class_name, score.scan, score.supports): score for score in theirs}
    lone = list(before.keys() ^ after.keys())
    if lone:
        name, scan, supports = min(lone)
        where = "record" if (name, scan, supports) in before else "second run"
        yield (
            f"scores: {len(lone)} stand in one of the two alone, such as {name} of scan {scan} from "
            f"{','.join(supports)} in the {where}"
        )
    changed = [key for key in before if key in after and before[key] != after[key]]
    if not changed:
        return
    gaps = [
        abs(a - b)
        for key in changed
        if (a := before[key].dice) is not None and (b := after[key].dice) is not None
    ]
    largest = f"; the largest difference of Dice is {100 * max(gaps):.4f} points" if gaps else ""
    names = ", ".join(f"{name} of scan {scan}" for name, scan, _supports in changed[:MOST_LISTED])
    more = ", ..." if len(changed) > MOST_LISTED else ""
    yield f"scores: {len(changed)} of {len(before)} differ ({names}{more}){largest}"


def _number_lines(record: Record, remade: Record) -> Iterator[str]:
    if record.fallback_slices != remade.fallback_slices:
        yield f"fallback slices: {record.fallback_slices}, now {remade.fallback_slices}"
    chosen, now = record.model.selected, remade.model.selected
    if (chosen is None) != (now is None):
        yield "checkpoint: one of the two runs chose it by a policy"
    elif chosen is not None and now is not None:
        if (chosen.step, chosen.dice) != (now.step, now.dice):
            yield f"checkpoint: step {chosen.step} of Dice {chosen.dice}, now step {now.step} of {now.dice}"
        if chosen.dices and chosen.dices != now.dices:
            yield f"Dice of the candidates on {chosen.on}: {list(chosen.dices)}, now {list(now.dices)}"


def _condition_lines(record: Record, remade: Record) -> Iterator[str]:
    """Yield one line for each condition that differs, in a fixed order."""
    pairs = (
        ("protocol", _protocol(record), _protocol(remade)),
        ("data", _data(record), _data(remade)),
        ("pseudo-labels", _pseudo_labels(record), _pseudo_labels(remade)),
        ("plan", record.plan_hash, remade.plan_hash),
        ("method", record.method.name, remade.method.name),
        ("method version", record.method.version, remade.method.version),
        ("method code", record.method.source, remade.method.source),
        ("options", dict(record.method.options), dict(remade.method.options)),
        ("files of options", dict(record.method.files), dict(remade.method.files)),
        ("weights", _weights(record.model), _weights(remade.model)),
    )  # fmt: skip
    for name, before, after in pairs:
        if before != after:
            yield f"{name}: {before}, now {after}"
    for part in sorted(record.versions.keys() | remade.versions.keys()):
        before, after = record.versions.get(part), remade.versions.get(part)
        if before != after:
            yield f"shared part {part}: version {before or 'not recorded'}, now {after or 'not recorded'}"
    yield from _machine_lines(_evaluation_machine(record), _evaluation_machine(remade), "")
    yield from _training_lines(record, remade)
    ours, theirs = record.environment, remade.environment
    if ours.python != theirs.python:
        yield f"libraries: python {ours.python}, now {theirs.python}"
    if (ours.fewshot, ours.commit) != (theirs.fewshot, theirs.commit):
        yield f"program: {ours.fewshot}, commit {ours.commit}, now {theirs.fewshot}, commit {theirs.commit}"
    if ours.dirty or theirs.dirty:
        whose = " and ".join(
            text for text, dirty in (("record", ours.dirty), ("second run", theirs.dirty)) if dirty
        )
        yield f"program: files differed from the commit ({whose})"


def _training_lines(record: Record, remade: Record) -> Iterator[str]:
    before, after = record.model.trained_on, remade.model.trained_on
    if not before and not after:
        return
    if not before:
        yield "machine of the training: not recorded"
    elif len(before) > 1 or len(after) > 1:
        if before != after:
            yield f"machines of the training: {len(before)}, now {len(after)}"
    elif after and _facts(before[0]) != _evaluation_machine(record):
        yield from _machine_lines(_facts(before[0]), _facts(after[0]), " of the training")


def _machine_lines(before: Mapping[str, object], after: Mapping[str, object], whose: str) -> Iterator[str]:
    for name, value in before.items():
        if value is None:
            yield f"{name}{whose}: not recorded, now {after[name]}"
        elif value != after[name]:
            yield f"{name}{whose}: {value}, now {after[name]}"


def _evaluation_machine(record: Record) -> dict[str, object]:
    found = record.environment
    return _machine(found.torch, found.threads, found.processor, found.device)


def _facts(machine: MachinePart) -> dict[str, object]:
    return _machine(machine.torch, machine.threads, machine.processor, machine.device)


def _machine(torch: str, threads: int | None, processor: str | None, device: str) -> dict[str, object]:
    return {"libraries": f"torch {torch}", "threads": threads, "processor": processor, "device": device}


def _protocol(record: Record) -> str:
    return f"{record.protocol.name} version {record.protocol.version}, {record.protocol.hash[:16]}"


def _data(record: Record) -> str:
    parts = [record.dataset, *([record.train_dataset] if record.train_dataset is not None else [])]
    return " trained on ".join(f"{part.name} {part.hash}" for part in parts)


def _pseudo_labels(record: Record) -> str:
    part = record.model.pseudo_labels
    return "not recorded" if part is None else f"{part.kind} {part.hash}"


def _weights(model: ModelPart) -> str | None:
    initial = model.initial_weights
    return None if initial is None else initial.sha256 or initial.name
