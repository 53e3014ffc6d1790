"""The landmark track through `fewshot run`: a landmark learner, a few-shot yardstick, and refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_store

from episodes.store.store import Store
from fewshot.commands.main import main
from protocols.saved_masks.cell_overlay import draw_record, on_slice
from results.records.files import read_record, read_records
from results.tables.landmark_measures import landmark_lines, pooled_measures

SMALL = ["--steps", "2", "--option", "side=64", "--option", "width=0.0625", "--option", "stacks=1"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a work folder with small phantoms of spines."""
    folder = tmp_path_factory.mktemp("spines")
    assert main(["prepare", "phantom-spine", "--size", "64", "--work", str(folder)]) == 0
    return folder


def test_a_landmark_learner_and_a_few_shot_method_stand_on_one_track(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "--dataset", "phantom-spine", "--folds", "0", "--work", str(work)]
    assert main([*command, "--method", "hourglass", *SMALL]) == 0
    assert main([*command, "--method", "copy-support"]) == 0
    shown = capsys.readouterr().out
    records = {record.method.name: record for record in read_records(work / "records")}
    assert shown.count("true points") == 2
    for record in records.values():
        (line,) = landmark_lines([record])
        assert line in shown
        assert len(record.landmarks) == len(record.scores) == 16
    true = {pooled_measures([record], "disc").true for record in records.values()}
    assert len(true) == 1 and true.pop() > 16 * 4
    assert records["hourglass"].method.regime == "landmark"
    copied = pooled_measures([records["copy-support"]], "disc")
    assert copied.predicted > 0 and 0 < copied.pairs <= min(copied.true, copied.predicted)


def test_decoding_with_the_true_number_is_marked(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "--dataset", "phantom-spine", "--folds", "1", "--method", "hourglass", *SMALL]
    assert main([*command, "--work", str(work), "--option", "variant=published"]) == 0
    assert "MARKED: decoding reads the true number of points" in capsys.readouterr().out


def test_a_dataset_without_points_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_store(tmp_path / "stores" / "tiny")
    assert main(["run", "--dataset", "tiny", "--method", "hourglass", "--work", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "hourglass needs points, and tiny has none; choose a dataset that has them" in error


def test_points_of_a_slice_are_drawn_over_it(work: Path, tmp_path: Path) -> None:
    points = np.array([[0.0, 3.0, 4.0], [1.0, 5.0, 6.0], [0.2, 1.0, 2.0]])
    assert on_slice(points, 0).tolist() == [[3.0, 4.0], [1.0, 2.0]]
    command = ["run", "--dataset", "phantom-spine", "--folds", "2", "--work", str(work)]
    assert main([*command, "--method", "copy-support", "--save-predictions"]) == 0
    (cell,) = (work / "predictions").iterdir()
    plain, marked = tmp_path / "plain.png", tmp_path / "marked.png"
    (file,) = (work / "records").glob(f"{cell.name}*.json")
    record = read_record(file)
    for path, each in ((plain, replace(record, landmarks=())), (marked, record)):
        draw_record(work, each, cell.name, lambda name: Store.open(work / "stores" / name), path)
    assert plain.read_bytes() != marked.read_bytes()
