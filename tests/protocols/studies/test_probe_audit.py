"""The probe's backbones are audited as a run's: none may have seen what the fold asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_backbones import backbone_file, slices_of
from probe_requests import other_weights, request

from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.files.atomic_io import sha256_of
from protocols.studies.probe import Pretrainer, run_probe


@pytest.fixture(scope="module")
def store(module_work: Path) -> Store:
    return Store.open(module_work / "stores" / "tiny")


@pytest.mark.slow
def test_a_file_that_saw_a_query_is_refused_before_stage_1(store: Store, tmp_path: Path) -> None:
    """Fold 0 asks 0 and 1, fold 3 asks 6 and 7; one file of each fold is audited against its own queries."""
    backbone_file(tmp_path / "0.pt", slices_of(store, ("6", "7")))
    backbone_file(tmp_path / "3.pt", slices_of(store, ("0", "1")))
    told: list[Any] = []
    asked = {"seeds": (0,), "folds": (0, 3)}
    with pytest.raises(UserError, match="saw slice 0 of scan 6, which is a query of fold 3 of tiny"):
        run_probe(request(store, **asked, weights=str(tmp_path / "0.pt")), other_weights(1, told))
    assert told == []
    own = run_probe(request(store, **asked, weights=str(tmp_path / "{fold}.pt")), other_weights(1))
    assert [t.before_sha256 for t in own.trials] == [sha256_of(tmp_path / f"{fold}.pt") for fold in (0, 3)]
    assert own.before == "{fold}.pt"


def test_a_stage_1_that_saw_a_query_is_refused(store: Store, tmp_path: Path) -> None:
    made = backbone_file(tmp_path / "made.pt", slices_of(store, ("3", "1")))
    with pytest.raises(UserError, match="saw slice 0 of scan 1, which is a query of fold 0 of tiny"):
        run_probe(request(store, seeds=(0,)), Pretrainer({"epochs": 1}, lambda *_: made))
