"""The landmark track through `fewshot run`: a landmark learner, a few-shot yardstick, and refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import tiny_store

from fewshot.commands.main import main
from results.records.files import read_records
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
