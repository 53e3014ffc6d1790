"""Surface distances against masks measured by hand; what is undefined says why and is never 0."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from making import recorded
from tiny import tiny_store

from fewshot.base.errors import UserError
from fewshot.base.types import ScanScore
from fewshot.commands.main import main
from results.metrics.distances import surface_scores
from results.records.record_parts import Score
from results.summary.distance_scores import NO_SPACING, distance_score

SPACING = (5.0, 2.0, 1.0)


def mask(*voxels: tuple[int, int, int]) -> np.ndarray:
    made = np.zeros((4, 9, 9), dtype=bool)
    for voxel in voxels:
        made[voxel] = True
    return made


def score(tp: int, fp: int, fn: int, undefined: str | None = None) -> Score:
    return recorded(ScanScore("liver", "3", ("9",), 1, tp, fp, fn, undefined))


@pytest.mark.parametrize(
    ("moved", "expected"), [((1, 4, 7), 3.0), ((1, 6, 4), 4.0), ((3, 4, 4), 10.0), ((2, 6, 4), 41**0.5)]
)
def test_two_voxels_are_as_far_apart_as_the_spacing_says(
    moved: tuple[int, int, int], expected: float
) -> None:
    found = surface_scores(mask((1, 4, 4)), mask(moved), SPACING, 1.0)
    assert found["hd95_mm"] == pytest.approx(expected, rel=1e-6)
    assert found["asd_mm"] == pytest.approx(expected, rel=1e-6) and found["nsd"] == 0.0
    near = surface_scores(mask((1, 4, 4)), mask(moved), SPACING, expected + 0.1)
    assert near["nsd"] == 1.0


def test_equal_masks_have_no_distance() -> None:
    one = mask((1, 4, 4), (1, 4, 5))
    assert surface_scores(one, one, SPACING, 0.0) == {"hd95_mm": 0.0, "asd_mm": 0.0, "nsd": 1.0}


def test_a_far_voxel_worked_by_hand() -> None:
    # truth: a row of three voxels; prediction: the same and one 4 mm on. Distances 0 0 0 and 0 0 0 4: mean
    # 4 / 7; 95 % quantile of (0 0 0 4) by linear interpolation: 0.95 * 3 = 2.85, so 0.85 * 4 = 3.4;
    # the other way 0.
    row = [(1, 4, 2), (1, 4, 3), (1, 4, 4)]
    found = surface_scores(mask(*row, (1, 4, 8)), mask(*row), SPACING, 1.0)
    assert found["hd95_mm"] == pytest.approx(3.4, rel=1e-6) and found["asd_mm"] == pytest.approx(4 / 7)
    assert 0.5 < found["nsd"] < 1.0


def test_slabs_a_slice_apart_worked_by_hand() -> None:
    # two single slices side by side: every voxel is 5 mm from the other slab
    lower, upper = np.zeros((2, 4, 9, 9), dtype=bool)
    lower[1, 2:7, 2:7] = upper[2, 2:7, 2:7] = True
    found = surface_scores(lower, upper, SPACING, 4.9)
    assert found["hd95_mm"] == pytest.approx(5.0) and found["asd_mm"] == pytest.approx(5.0)


def test_masks_at_the_border_of_the_volume_have_a_surface_there() -> None:
    whole = np.ones((4, 9, 9), dtype=bool)
    assert surface_scores(whole, whole, SPACING, 1.0)["asd_mm"] == 0.0


def test_what_is_undefined_has_its_reason() -> None:
    truth, nothing = mask((1, 4, 4)), mask()
    found = distance_score(score(0, 0, 1), nothing, truth, SPACING)
    assert found == {
        "class": "liver", "scan": "3", "supports": ["9"], "hd95_mm": None, "asd_mm": None, "nsd": None,
        "undefined": "nothing was predicted",
    }  # fmt: skip
    assert distance_score(score(0, 1, 0), truth, nothing, SPACING)["undefined"] == "the truth is empty"
    assert distance_score(score(1, 0, 0), truth, truth, None)["undefined"] == NO_SPACING
    absent = score(0, 0, 0, undefined="absent")
    assert distance_score(absent, nothing, nothing, SPACING)["undefined"] == "absent"
    assert distance_score(score(1, 0, 0), truth, truth, SPACING)["hd95_mm"] == 0.0


def test_masks_that_are_not_the_records_are_refused() -> None:
    with pytest.raises(UserError, match=r"counts \(1, 0, 0\) tp, fp, fn, its record \(1, 1, 0\)"):
        distance_score(score(1, 1, 0), mask((1, 4, 4)), mask((1, 4, 4)), SPACING)
    for bad in ((mask(), mask((1, 1, 1)), SPACING, 1.0), (mask((1, 1, 1)),) * 2 + ((0.0, 1.0, 1.0), 1.0)):
        with pytest.raises(ValueError, match=r"a mask is empty|expected positive millimetres"):
            surface_scores(*bad)


SCORES = {"hd95_mm": 1.0, "asd_mm": 1.0, "nsd": 0.5}


def test_the_command_measures_saved_predictions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    work = ["--work", str(tmp_path)]
    ask = [*work, "--dataset", "tiny", "--setting", "1"]
    tiny_store(tmp_path / "stores" / "tiny")
    run = ["run", *ask, "--method", "copy-support", "--device", "cpu"]
    assert main(run) == 0
    assert main(["distances", *ask]) == 2
    assert "10 of 10 cells have no predictions" in capsys.readouterr().err
    assert main([*run, "--save-predictions"]) == 0
    assert main(["distances", *ask, "--tolerance-mm", "3", "--format", "md"]) == 0
    out = capsys.readouterr().out
    assert "surface Dice at a tolerance of 3 mm, in percent" in out and "| copy-support |" in out
    files = sorted((tmp_path / "distances").glob("*.json"))
    assert len(files) == 10
    scores = [one for file in files for one in json.loads(file.read_text())["scores"]]
    assert len(scores) == 40 and all(one["undefined"] is None for one in scores)
    assert all(one["asd_mm"] > 0 and 0 <= one["hd95_mm"] < 40 and 0 < one["nsd"] <= 1 for one in scores)
    before = {file: file.read_bytes() for file in files}
    measured: list[str] = []
    monkeypatch.setattr(
        "results.summary.distance_scores.surface_scores",
        lambda *_: measured.append("again") or SCORES,
    )
    files[0].unlink()
    again = ["distances", *ask, "--format", "md", "--tolerance-mm"]
    assert main([*again, "3"]) == 0
    assert len(measured) == len(json.loads(files[0].read_text())["scores"])  # only the one that is missing
    assert all(file.read_bytes() == before[file] for file in files[1:])
    assert main([*again, "2"]) == 0 and len(measured) > 40  # another tolerance is another measurement
    count = len(measured)
    monkeypatch.setattr("protocols.saved_masks.distances.library_version", lambda: "99")
    assert main([*again, "2"]) == 0 and len(measured) == count + 40  # so is another version of MONAI
    capsys.readouterr()
    assert main(["distances", *ask, "--tolerance-mm", "-1"]) == 2
    assert "expected 0 or more millimetres" in capsys.readouterr().err
