"""Pictures of boards: the numbers behind them by hand, files that repeat byte for byte, masks checked."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_store

from fewshot.commands.main import main
from results.figures.slice_figures import binned, dice_along_organ, draw_along

ASK = ["--dataset", "tiny", "--setting", "1"]
PLAIN = ("by-class", "boxes", "by-size", "critical-difference", "all-pairs")  # from records alone


def test_dice_along_the_organ_worked_by_hand() -> None:
    truth = np.zeros((6, 2, 2), dtype=bool)
    prediction = truth.copy()
    truth[1:5, 0] = True  # slices 1..4 show two pixels
    truth[3] = False  # but slice 3 none
    prediction[1, 0] = True  # all of it: Dice 1
    prediction[2, 0, 0] = True  # half of it: 2 * 1 / (1 + 2) = 2 / 3
    assert dice_along_organ(prediction, truth, 1, 4) == [
        (0.0, 1.0),
        (pytest.approx(1 / 3), pytest.approx(2 / 3)),
        (1.0, 0.0),
    ]
    assert dice_along_organ(prediction, truth, 1, 1) == [(0.5, 1.0)]
    means = binned([(0.0, 1.0), (0.05, 0.0), (1.0, 0.4)])
    assert means[0] == 0.5 and means[9] == 0.4 and np.isnan(means[1:9]).all()


def test_too_many_lines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="9 methods, expected 1 to 8"):
        draw_along("x", {str(number): {} for number in range(9)}, tmp_path / "x")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with records and predictions of two yardsticks on the tiny dataset."""
    work = tmp_path_factory.mktemp("board") / "work"
    tiny_store(work / "stores" / "tiny")
    for method in ("copy-support", "all-foreground"):
        run = ["run", "--work", str(work), "--method", method, *ASK, "--save-predictions", "--device", "cpu"]
        assert main(run) == 0
    return work


@pytest.mark.slow
def test_every_picture_is_drawn_twice_the_same(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("one", "two"):
        assert main(["figures", "--work", str(work), *ASK, "--out", str(tmp_path / place)]) == 0
    told = capsys.readouterr()
    assert "not drawn" not in told.err
    names = {path.name for path in (tmp_path / "one").iterdir()}
    stems = (*PLAIN, "along-organ", "predictions-upper", "predictions-lower")
    assert names == {f"{stem}.{ending}" for stem in stems for ending in ("svg", "png", "pdf")}
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    assert str(tmp_path / "one" / "by-class.svg") in told.out


def test_without_masks_it_says_so_and_a_bad_mask_is_named(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unrendered: None
) -> None:
    shutil.copytree(work / "records", tmp_path / "records")
    ask = ["figures", "--work", str(tmp_path), *ASK, "--out", str(tmp_path / "out")]
    assert main(ask) == 0
    assert "dataset 'tiny'" in capsys.readouterr().err
    shutil.copytree(work / "stores", tmp_path / "stores")
    assert main(ask) == 0
    assert "no predictions of these records in" in capsys.readouterr().err
    shutil.copytree(work / "predictions", tmp_path / "predictions")
    gone = min((tmp_path / "predictions").rglob("*.nii.gz"))
    gone.unlink()
    assert main(ask) == 0
    assert f"{gone} is missing; run the cell again" in capsys.readouterr().err
    assert {path.stem for path in (tmp_path / "out").iterdir()} == set(PLAIN)


def test_a_picture_that_cannot_be_written_is_an_error(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unrendered: None
) -> None:
    """It is not one of the pictures that lack their masks, which are left out."""
    (tmp_path / "out" / "predictions-upper.png").mkdir(parents=True)
    assert main(["figures", "--work", str(work), *ASK, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "fewshot: error: cannot write" in error and "predictions-upper.png: Is a directory" in error
