"""The demo through the console command, at a tiny size."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from fewshot.base.errors import UserError
from fewshot.commands.main import main
from results.figures.demo import draw_comparison

TINY = ["--size", "64", "--steps", "2", "--folds", "0"]


@pytest.mark.slow
def test_the_demo_prints_a_table_and_writes_its_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    assert main(["demo", "--work", str(work), *TINY]) == 0
    out = capsys.readouterr().out
    comparison = out[out.index("comparison on phantom-mri, setting 1") :]
    for row in ("copy-support", "all-foreground", "untrained", "2 steps"):
        assert row in comparison
    for name in ("demo.png", "demo-upper.png", "demo-lower.png"):
        assert str(work / "figures" / name) in out
        assert imread(work / "figures" / name).std() > 0.05
    assert f"fewshot plan --work {work}" in out and "left" in out
    records = {path: path.read_bytes() for path in (work / "records").iterdir()}
    assert len(records) == 8  # two groups of four configurations
    assert main(["demo", "--work", str(work), *TINY]) == 0  # all is there: nothing is done again
    assert {path: path.read_bytes() for path in (work / "records").iterdir()} == records
    assert main(["demo", "--work", str(work), "--size", "72", "--steps", "2"]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_quick_is_fold_0_and_typed_options_win(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = []

    def stop(args: argparse.Namespace) -> None:
        seen.append((args.folds, args.steps))
        raise UserError("stopped")

    monkeypatch.setattr("fewshot.commands.start.demo._request", stop)
    for words in ([], ["--quick"], ["--quick", "--folds", "1,2", "--steps", "7"]):
        assert main(["demo", "--work", str(tmp_path), *words]) == 2
    assert seen == [("all", 80), ("0", 80), ("1,2", 7)]


@pytest.mark.parametrize("wrong", [["--steps", "0"], ["--size", "50"], ["--folds", "9"]])
def test_a_mistake_is_one_line_and_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: list[str]
) -> None:
    assert main(["demo", "--work", str(tmp_path / "work"), *wrong]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "work").exists()


def test_the_figure_marks_means_and_refuses_five_configurations(tmp_path: Path) -> None:
    dices = {"trained": {"liver": [0.7, 0.8], "spleen": [0.5]}, "untrained": {"liver": [0.2]}}
    draw_comparison("by hand", dices, tmp_path / "figure.png")
    picture = np.asarray(imread(tmp_path / "figure.png"))
    blue = np.abs(picture[..., :3] - np.array([0x1F, 0x6F, 0xD0]) / 255).max(axis=2) < 0.02
    assert blue.sum() > 100  # the trained mean bars
    with pytest.raises(ValueError, match="configurations"):
        draw_comparison("too many", {str(n): {"liver": [0.1]} for n in range(5)}, tmp_path / "no.png")
