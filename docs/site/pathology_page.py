"""The page of I-MMSeg on phantoms, results/pathology.md, made from its records by `record_pages.py`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from landmark_page import by_seed

from baselines.immseg.model import IMMSeg
from results.comparison.ablation import AblationRow, ablation_table
from results.metrics.regions import CLASSES
from results.records.record import Record

FOLDER = "immseg"  # of results/data
PAGE = "pathology.md"  # of results
TEMPLATE = Path(__file__).resolve().parent / "pathology_template.md"
# sequences that the network sees -> those that it does not
ROWS = {
    "bSSFP, LGE, T2w": (),
    "bSSFP": ("LGE", "T2w"),
    "LGE": ("bSSFP", "T2w"),
    "T2w": ("bSSFP", "LGE"),
}


def pathology_page(records: Sequence[Record]) -> str:
    """Return the page as markdown from the records of its folder."""
    return TEMPLATE.read_text(encoding="utf-8").format(
        sequences=sequence_table(records),
        priors=ablation_table([AblationRow(label, by_seed(rows)) for label, rows in priors(records)]),
    )


def sequence_table(records: Sequence[Record]) -> str:
    """Return a markdown table of one seed: mean Dice of each class over folds, and that of each fold."""
    lines = [f"| sequences | {' | '.join(CLASSES)} |", f"|---|{'---|' * len(CLASSES)}"]
    for label, left_out in ROWS.items():
        rows = chosen(records, left_out)
        cells = []
        for name in CLASSES:
            folds = [fold_dice(record, name) for record in rows]
            cells.append(f"{statistics.fmean(folds):.2f} ({', '.join(f'{value:.2f}' for value in folds)})")
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def chosen(records: Sequence[Record], left_out: tuple[str, ...]) -> list[Record]:
    """Return the records of seed 0 and true priors without these sequences, by fold."""
    return sorted(
        (
            record
            for record in records
            if record.model.seed == 0
            and record.method.options["prior"] == "true"
            and tuple(record.method.options["left_out"]) == left_out
        ),
        key=lambda record: record.fold,
    )


def priors(records: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    """Return label and records of each kind of prior, with all sequences."""
    return [
        (
            label,
            [
                record
                for record in records
                if record.method.options["prior"] == options.get("prior", "true")
                and not record.method.options["left_out"]
            ],
        )
        for label, options in IMMSeg.ablations.items()
    ]


def fold_dice(record: Record, name: str) -> float:
    """Return the mean Dice in percent of a class over a fold's scans; undefined ones are left out."""
    return 100 * statistics.fmean(
        score.dice for score in record.scores if score.class_name == name and score.dice is not None
    )
