"""The page of prompt gains is that of its measured means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from places import ROOT

from protocols.studies.prompt_gain import PromptDice

MEASURED = ROOT / "results" / "data" / "prompt-gain"


@pytest.mark.parametrize("path", sorted(MEASURED.glob("*.json")), ids=lambda path: path.stem)
def test_the_page_holds_the_table_of_each_file(path: Path) -> None:
    found = PromptDice.from_json(json.loads(path.read_text(encoding="utf-8")))
    page = (ROOT / "results" / "prompt-gain.md").read_text(encoding="utf-8")
    assert f"```\n{found.table()}\n```\n" in page


def test_on_deciding_phantoms_the_true_sentence_beats_the_shuffled_one_by_20() -> None:
    text = (MEASURED / "phantom-cells.json").read_text(encoding="utf-8")
    mean, low, _high = PromptDice.from_json(json.loads(text)).gain("shuffled")
    assert mean > 0.2 and low > 0.2
