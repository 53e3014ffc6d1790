"""Regions of pathology from saved predictions: joined masks of each scan, and one line for what cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_store

from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.commands.main import main
from protocols.cells.predictions import read_prediction
from protocols.saved_masks.regions import check_pathology
from results.metrics.regions import region_score

SIZE = "48"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a work folder with copy-support on fold 0 of small hearts with pathology."""
    folder = tmp_path_factory.mktemp("regions")
    where = ["--work", str(folder)]
    assert main(["prepare", "phantom-pathology", "--size", SIZE, "--phantom-slices", "8", *where]) == 0
    run = ["run", "--dataset", "phantom-pathology", "--method", "copy-support", "--folds", "0", *where]
    assert main([*run, "--groups", "pathology", "--save-predictions"]) == 0
    return folder


def test_the_command_prints_the_mean_of_every_region(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pathology", "--dataset", "phantom-pathology", "--work", str(work)]) == 0
    lines = capsys.readouterr().out.splitlines()
    store = Store.open(work / "stores" / "phantom-pathology")
    folder = next((work / "predictions").iterdir())
    first, last = store.spec.fold_borders[:2]
    scores = []
    for scan in store.index.scans[first:last]:
        labels = store.scan(scan).labels
        predicted = [read_prediction(folder, store, name, scan) for name in ("scar", "edema")]
        # the slices that are scored are those that show the class
        shown = [labels == store.spec.classes[name] for name in ("scar", "edema")]
        scored = [
            mask & _between(true.any(axis=(1, 2)))[:, None, None]
            for mask, true in zip(predicted, shown, strict=True)
        ]
        scores.append(region_score(scored[0] | scored[1], shown[0] | shown[1]))
    found = next(line for line in lines if line.strip().startswith("scar or edema")).split()
    expected = 100 * np.mean([score.dice for score in scores if score.dice is not None])
    assert float(found[3]) == pytest.approx(expected, abs=0.006)
    assert int(found[4]) == len(scores)
    assert [line.split("  ")[1] for line in lines[2:7]] == [
        "normal myocardium", "scar", "edema", "scar or edema", "whole myocardium",
    ]  # fmt: skip


def test_another_dataset_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no class myocardium, scar, edema, expected"):
        check_pathology(tiny_store(tmp_path / "store"))


def test_cells_without_predictions_are_named(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hidden = (work / "predictions").rename(work / "hidden")
    try:
        assert main(["pathology", "--dataset", "phantom-pathology", "--work", str(work)]) == 2
    finally:
        hidden.rename(work / "predictions")
    assert "run with --save-predictions" in capsys.readouterr().err


def _between(shown: np.ndarray) -> np.ndarray:
    """Return True from the first to the last slice that shows a class."""
    places = np.flatnonzero(shown)
    return (np.arange(len(shown)) >= places[0]) & (np.arange(len(shown)) <= places[-1])
