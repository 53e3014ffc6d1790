"""The page of the landmark track is that of its records, and the hourglass solves the phantoms."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest
from places import ROOT

from results.records.files import read_records
from results.tables.landmark_measures import pooled_measures

RECORDS = list(read_records(ROOT / "results" / "data" / "landmarks"))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module that makes the page."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "site"))
    return importlib.import_module("landmark_page")


def test_the_page_is_made_from_the_records(made: ModuleType) -> None:
    """After new records: python docs/site/record_pages.py."""
    page = (ROOT / "results" / "landmarks.md").read_text(encoding="utf-8")
    assert page == made.landmark_page(RECORDS)


def test_every_row_has_its_records(made: ModuleType) -> None:
    for label, records in made.all_folds(RECORDS):
        folds = sorted(record.fold for record in records)
        assert label.endswith(f", folds {','.join(map(str, folds))}") or folds == [0, 1, 2, 3, 4], label
        assert len(folds) >= 3 and len(set(folds)) == len(folds), label
    shown = [
        record for _label, rows in [*made.all_folds(RECORDS), *made.ablation(RECORDS)] for record in rows
    ]
    assert {record.key for record in shown} == {record.key for record in RECORDS}


def test_the_hourglass_solves_the_phantoms(made: ModuleType) -> None:
    points = pooled_measures(dict(made.all_folds(RECORDS))["hourglass"], "disc")
    assert points.median_mm < 3 and points.false_positives <= 0.05 and points.false_negatives <= 0.05


def test_the_published_variant_predicts_the_true_number(made: ModuleType) -> None:
    points = pooled_measures(dict(made.all_folds(RECORDS))["hourglass, published"], "disc")
    assert points.predicted == points.true and points.false_positives == points.false_negatives


def test_three_seeds_stand_on_both_sides_of_the_ablation(made: ModuleType) -> None:
    for _label, records in made.ablation(RECORDS):
        assert sorted({record.model.seed for record in records}) == [0, 1, 2]
        assert len(records) == 3 * len(made.ABLATED_FOLDS)
