"""The ablation of TMUnet over three seeds: its page is that of its records."""

from __future__ import annotations

from places import ROOT

from baselines.tmunet.model import TMUnet
from results.comparison.ablation import AblationRow, ablation_table
from results.records.files import read_records
from results.records.record import Record

RECORDS = ROOT / "results" / "data" / "supervised-ablation"


def ablation_page() -> str:
    """Return the table of the recorded rows, in the order of the class's ablations."""
    records = list(read_records(RECORDS))
    rows = []
    for label, texts in TMUnet.ablations.items():
        changed = {name: text == "true" for name, text in texts.items()}
        options = {"boundary": True, "transformer": True} | changed
        by_seed: dict[int, list[Record]] = {}
        for record in records:
            if options.items() <= dict(record.method.options).items():
                by_seed.setdefault(record.model.seed, []).append(record)
        rows.append(AblationRow(label, {seed: by_seed[seed] for seed in sorted(by_seed)}))
    return ablation_table(rows) + "\n"


def test_the_page_is_that_of_the_records() -> None:
    page = (ROOT / "results" / "supervised-ablation.md").read_text(encoding="utf-8")
    assert f"```\n{ablation_page()}```\n" in page
    assert "seeds 0, 1, 2" in page
