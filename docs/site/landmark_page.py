"""The page of the landmark track, results/landmarks.md, made from its records by `record_pages.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from baselines.hourglass.model import Hourglass
from results.comparison.ablation import AblationRow, ablation_table
from results.records.record import Record
from results.tables.landmark_measures import landmark_table

FOLDER = "landmarks"  # of results/data
PAGE = "landmarks.md"  # of results
TEMPLATE = Path(__file__).resolve().parent / "landmarks_template.md"
CLASS = "disc"
METHODS = ("ssl-alpnet", "copy-support", "all-foreground")
ABLATED = ("attention", "no attention")
ABLATED_FOLDS = (0, 1)
Rows = Sequence[tuple[str, Sequence[Record]]]


def landmark_page(records: Sequence[Record]) -> str:
    """Return the page as markdown from the records of its folder."""
    return TEMPLATE.read_text(encoding="utf-8").format(
        all_folds=landmark_table(all_folds(records), CLASS),
        attention=landmark_table(ablation(records), CLASS),
        dice=dice_ablation(records),
    )


def all_folds(records: Sequence[Record]) -> Rows:
    """Return the rows of one seed on all folds; the label of a row that lacks some names those it has."""
    own = {
        "hourglass": hourglass(records, variant="corrected"),
        "hourglass, published": hourglass(records, variant="published"),
        **{name: [record for record in records if record.method.name == name] for name in METHODS},
    }
    chosen = {label: [each for each in rows if each.model.seed == 0] for label, rows in own.items()}
    return [(f"{label}{lacking(rows)}", rows) for label, rows in chosen.items()]


def lacking(records: Sequence[Record]) -> str:
    """Return "" for the records of all folds, else the folds in words."""
    folds = sorted(record.fold for record in records)
    return "" if len(folds) == records[0].grid.folds else f", folds {','.join(map(str, folds))}"


def ablation(records: Sequence[Record]) -> Rows:
    """Return the rows of the ablation: three seeds on two folds."""
    rows = []
    for label in ABLATED:
        attention = Hourglass.ablations[label].get("attention", "true") == "true"
        chosen = hourglass(records, variant="corrected", attention=attention)
        rows.append((label, [each for each in chosen if each.fold in ABLATED_FOLDS]))
    return rows


def dice_ablation(records: Sequence[Record]) -> str:
    """Return the table of `fewshot ablate` for the rows of the ablation."""
    return ablation_table([AblationRow(label, by_seed(rows)) for label, rows in ablation(records)])


def by_seed(records: Iterable[Record]) -> Mapping[int, list[Record]]:
    """Return seed -> records, seeds in ascending order."""
    made: dict[int, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.model.seed):
        made.setdefault(record.model.seed, []).append(record)
    return made


def hourglass(records: Iterable[Record], *, variant: str, attention: bool = True) -> list[Record]:
    """Return the records of the hourglass with these options."""
    options = {"variant": variant, "attention": attention}
    return [
        record
        for record in records
        if record.method.name == "hourglass"
        and {name: record.method.options[name] for name in options} == options
    ]
