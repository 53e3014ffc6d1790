"""Decide whether a record is comparable with published numbers, and give the reason if it is not.

A difference "measured minus published" is meaningful only if training follows the published recipe and this
program prepared the data from the original download. Every table that shows such a difference, or a measured
number in the place of a published one, calls `reason_not_comparable`.
"""

from __future__ import annotations

from collections.abc import Iterable

from results.records.record import Record

RECIPE_MARK = "not the published recipe: "  # prefix of the marks of protocols/cells/recipe_marks.py
PREPARED_BY = {
    "fewshot": "this program",
    "published-layout": "somebody else's released preprocessing (published layout)",
    "unknown": "not known",
}


def prepared_by(record: Record) -> str:
    """Return who prepared a record's dataset, a key of `PREPARED_BY`."""
    return record.dataset.prepared_by


def prepared_by_text(records: Iterable[Record]) -> str:
    """Return the line that says who prepared the dataset of records; it names each preparation once."""
    names = sorted({PREPARED_BY[prepared_by(record)] for record in records})
    return f"dataset prepared by: {', '.join(names)}"


def has_random_start(record: Record) -> bool:
    """Say whether the training of the method started from random weights, without any pre-training.

    In a method with stages, the record holds the initial weights of the first stage of episodes. A backbone
    from a pre-training is therefore not a random start, although that itself started at random. It is not the
    published start either; a recipe mark says so.
    """
    weights = record.model.initial_weights
    return weights is not None and weights.name == "random"


def recipe_marks(record: Record) -> tuple[str, ...]:
    """Return the marks of a record that name a difference between its training and the published recipe."""
    return tuple(mark for mark in record.audits if mark.startswith(RECIPE_MARK))


def reason_not_comparable(record: Record) -> str | None:
    """Return why a record is not comparable with published numbers; None if it is comparable.

    The reason is short; the marks of the record name each difference from the recipe.
    """
    trained, by = record.train_dataset, prepared_by(record)
    reasons = (
        (trained is not None, f"trained on {trained.name}" if trained else ""),
        (has_random_start(record), "random initial weights"),
        (bool(recipe_marks(record)), RECIPE_MARK.removesuffix(": ")),
        (record.model.checkpoint == "external", "its training is not known"),
        (by != "fewshot", f"dataset prepared by: {PREPARED_BY[by]}"),
    )
    return ", ".join(text for holds, text in reasons if holds) or None


def reason_of_cells(records: Iterable[Record]) -> str | None:
    """Return every reason why a cell of one row is not comparable; None if all cells are comparable."""
    reasons = dict.fromkeys(reason for record in records if (reason := reason_not_comparable(record)))
    return "; ".join(reasons) or None
