"""The page of the landmark track is that of its records, and the hourglass solves the phantoms."""

from __future__ import annotations

from places import ROOT

from baselines.hourglass.model import Hourglass
from results.comparison.ablation import AblationRow, ablation_table
from results.records.files import read_records
from results.records.record import Record
from results.tables.landmark_measures import landmark_table, pooled_measures

RECORDS = list(read_records(ROOT / "results" / "data" / "landmarks"))
PAGE = ROOT / "results" / "landmarks.md"
ABLATED = ("attention", "no attention")
FOLDS = (0, 1)  # of the ablation


def chosen(method: str, attention: bool = True) -> list[Record]:
    return [
        record
        for record in RECORDS
        if record.method.name == method and record.method.options.get("attention", True) == attention
    ]


def five_folds() -> list[tuple[str, list[Record]]]:
    """Return the rows of one seed on all folds."""
    names = ("hourglass", "copy-support", "all-foreground")
    return [(name, [record for record in chosen(name) if record.model.seed == 0]) for name in names]


def ablation() -> list[tuple[str, list[Record]]]:
    """Return the rows of three seeds on two folds."""
    rows = []
    for label in ABLATED:
        attention = Hourglass.ablations[label].get("attention", "true") == "true"
        rows.append((label, [each for each in chosen("hourglass", attention) if each.fold in FOLDS]))
    return rows


def dice_ablation() -> str:
    rows = []
    for label, records in ablation():
        seeds = sorted({record.model.seed for record in records})
        rows.append(AblationRow(label, {n: [r for r in records if r.model.seed == n] for n in seeds}))
    return ablation_table(rows)


def test_the_page_holds_the_tables_of_the_records() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for table in (landmark_table(five_folds(), "disc"), landmark_table(ablation(), "disc"), dice_ablation()):
        assert f"```\n{table}\n```\n" in page


def test_the_hourglass_solves_the_phantoms() -> None:
    records = dict(five_folds())["hourglass"]
    assert sorted(record.fold for record in records) == [0, 1, 2, 3, 4]
    made = pooled_measures(records, "disc")
    assert made.median_mm < 3 and made.false_positives <= 0.05 and made.false_negatives <= 0.05


def test_three_seeds_stand_on_both_sides_of_the_ablation() -> None:
    for _label, records in ablation():
        assert sorted({record.model.seed for record in records}) == [0, 1, 2]
        assert len(records) == 3 * len(FOLDS)
