"""Whether a record may stand against published numbers: the one place that decides it, and the reason.

A difference "measured minus published" means something only where the training is the published recipe and
this program prepared the data from the original download. Every table, board and layout that shows such a
difference, or a measured number in a published place, calls `reason_not_comparable`.
"""

from __future__ import annotations

from collections.abc import Iterable

from results.records.record import Record

RECIPE_MARK = "not the published recipe: "  # how protocols/cells/recipe_marks.py begins the mark
PREPARED_BY = {
    "fewshot": "this program",
    "published-layout": "somebody else's released preprocessing (published layout)",
    "unknown": "not known",
}


def prepared_by(record: Record) -> str:
    """Return who prepared a record's dataset, a key of `PREPARED_BY`."""
    return record.dataset.prepared_by


def prepared_by_text(records: Iterable[Record]) -> str:
    """Return the line on who prepared the dataset of records; it names each preparation once."""
    names = sorted({PREPARED_BY[prepared_by(record)] for record in records})
    return f"dataset prepared by: {', '.join(names)}"


def has_random_start(record: Record) -> bool:
    """Say whether a model saw no pre-training at all before its method's own training.

    The initial weights of a method in stages are those of its first stage that is trained. A backbone that
    stage 1 made on the project's own images is therefore not a random start, although stage 1 began at
    random; it is not the published start either, and the recipe mark says so.
    """
    weights = record.model.initial_weights
    return weights is not None and weights.name == "random"


def recipe_marks(record: Record) -> tuple[str, ...]:
    """Return the marks of a record that name how its training differs from the published recipe."""
    return tuple(mark for mark in record.audits if mark.startswith(RECIPE_MARK))


def reason_not_comparable(record: Record) -> str | None:
    """Return why no difference to published numbers may be made of a record; None where one may.

    The reasons are short: the record's own mark names what differs from the recipe.
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
    """Return why no difference may be made of the cells of one row: what holds of any of them."""
    found = dict.fromkeys(reason for record in records if (reason := reason_not_comparable(record)))
    return "; ".join(found) or None
