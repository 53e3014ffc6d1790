"""The page of pathology is that of its records; three sequences beat one that does not show a pathology."""

from __future__ import annotations

import importlib
import statistics
from types import ModuleType

import pytest
from places import ROOT

from results.records.files import read_records

RECORDS = list(read_records(ROOT / "results" / "data" / "immseg"))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module that makes the page."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "site"))
    return importlib.import_module("pathology_page")


def test_the_page_is_made_from_the_records(made: ModuleType) -> None:
    """After new records: python docs/site/record_pages.py."""
    page = (ROOT / "results" / "pathology.md").read_text(encoding="utf-8")
    assert page == made.pathology_page(RECORDS)


def test_every_row_has_two_folds_and_every_prior_three_seeds(made: ModuleType) -> None:
    for left_out in made.ROWS.values():
        assert [record.fold for record in made.chosen(RECORDS, left_out)] == [0, 1]
    for _label, records in made.priors(RECORDS):
        cells = sorted((record.model.seed, record.fold) for record in records)
        assert cells == [(seed, fold) for seed in (0, 1, 2) for fold in (0, 1)]


@pytest.mark.parametrize(
    ("name", "alone"), [("scar", "bSSFP"), ("scar", "T2w"), ("edema", "bSSFP"), ("edema", "LGE")]
)
def test_three_sequences_gain_ten_points_on_what_one_does_not_show(
    made: ModuleType, name: str, alone: str
) -> None:
    dice = {
        label: statistics.fmean(made.fold_dice(record, name) for record in made.chosen(RECORDS, left_out))
        for label, left_out in made.ROWS.items()
    }
    assert dice["bSSFP, LGE, T2w"] >= dice[alone] + 10
