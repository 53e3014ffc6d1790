"""The landmark track through `fewshot run`: a landmark learner, a few-shot yardstick, and refusals."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from tiny import tiny_store
from torch import Tensor

from baselines.hourglass.model import Hourglass
from episodes.store.slices import SliceReader
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.types import SliceRef
from fewshot.commands.main import main
from fewshot.regimes.landmarks import LandmarkLearner
from protocols.saved_masks.cell_overlay import draw_record
from protocols.saved_masks.cell_panels import on_slice
from protocols.studies.heat_maps import HeatMaps, open_heat_maps
from results.figures.overlay import Panel, draw_part
from results.records.files import read_records
from results.records.record import Record
from results.tables.landmark_measures import landmark_lines, pooled_measures

CPU = torch.device("cpu")
GREY = np.arange(16, dtype=np.float32).reshape(4, 4)
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


def drawn_cell(work: Path, method: str, fold: int, *more: str) -> Record:
    """Run a method on a fold, keep its predictions, and return the record."""
    command = ["run", "--dataset", "phantom-spine", "--folds", str(fold), "--work", str(work)]
    assert main([*command, "--method", method, "--save-predictions", *more]) == 0
    (record,) = [
        each
        for each in read_records(work / "records")
        if (each.method.name, each.fold) == (method, fold) and (work / "predictions" / str(each.key)).is_dir()
    ]
    return record


def test_points_of_a_slice_are_drawn_over_it(work: Path, tmp_path: Path) -> None:
    points = np.array([[0.0, 3.0, 4.0], [1.0, 5.0, 6.0], [0.2, 1.0, 2.0]])
    assert on_slice(points, 0).tolist() == [[3.0, 4.0], [1.0, 2.0]]
    record = drawn_cell(work, "copy-support", 2)
    plain, marked = tmp_path / "plain.png", tmp_path / "marked.png"
    for path, each in ((plain, replace(record, landmarks=())), (marked, record)):
        draw_record(work, each, str(record.key), lambda name: Store.open(work / "stores" / name), path)
    assert plain.read_bytes() != marked.read_bytes()


def test_heat_maps_are_those_of_the_recorded_points(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = drawn_cell(work, "hourglass", 3, *SMALL)
    heat = open_heat_maps(work, record, lambda name: Store.open(work / "stores" / name), CPU)
    assert heat is not None
    learner = cast(Hourglass, heat.learner)
    for score in record.landmarks[:4]:
        maps = heat(SliceRef(score.scan, 0))
        assert maps.shape == (11, 64, 64)
        places = learner.decode(maps.astype(np.float64), None).places  # the network sees 64 pixels a side
        spacing = Store.open(work / "stores" / "phantom-spine").scan(score.scan).spacing_mm
        found = np.array(score.points_mm).reshape(-1, 3)[:, 1:]
        assert np.allclose(places * spacing[1:], found, atol=1e-3)
    with_heat, without = tmp_path / "heat.png", tmp_path / "plain.png"
    command = ["overlay", str(record.key)[:12], "--work", str(work)]
    assert main([*command, "--out", str(with_heat)]) == 0
    assert main([*command, "--out", str(without), "--no-heat"]) == 0
    assert with_heat.read_bytes() != without.read_bytes()
    shutil.move(work / "models" / str(record.model.key), tmp_path / "gone")
    capsys.readouterr()
    assert main(command) == 2
    assert "and heat-maps need it; add --no-heat" in capsys.readouterr().err


def test_a_learner_need_not_have_heat_maps_and_a_wrong_form_is_named() -> None:
    class Silent(LandmarkLearner):
        pass

    class Flat(LandmarkLearner):
        def heat(self, images: Tensor) -> Tensor:
            return images[0]

    class Blank:
        image_size = 4

        def images(self, refs: Sequence[SliceRef]) -> Tensor:
            return torch.zeros(len(refs), 1, 4, 4)

    assert not Silent.has_heat() and Flat.has_heat() and Hourglass.has_heat()
    flat = Flat(torch.nn.Module(), None, ("disc",))
    with pytest.raises(UserError, match=r"heat of Flat has the shape \(1, 4, 4\), expected \(1, C, h, w\)"):
        HeatMaps(flat, cast(SliceReader, Blank()), CPU)(SliceRef("0", 0))


def test_heat_maps_are_opaque_where_they_are_largest() -> None:
    heat = np.zeros((3, 4, 4), dtype=np.float32)
    heat[0, 1, 1], heat[2, 3, 0], heat[1, 0, 0] = 0.25, 0.5, -9.0
    axis = Figure().add_subplot()
    blank = np.zeros((4, 4), dtype=bool)
    draw_part(axis, Panel("", GREY, blank, GREY, blank, blank, "", "", heat=heat), "heat-maps")
    _grey, picture = axis.get_images()
    shown = np.asarray(picture.get_array())
    assert shown[..., 3].tolist() == [[0, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert shown[3, 0, 0] == 1 and shown[1, 1, 0] == 0.5  # red is the last channel, violet the first
    assert axis.get_xlabel() == "channels 1 (violet) to 3 (red), opaque at 0.5"


def test_a_film_has_a_frame_for_each_slice_and_the_same_bytes_again(work: Path, tmp_path: Path) -> None:
    record = drawn_cell(work, "hourglass", 4, *SMALL)
    files = [tmp_path / "one.gif", tmp_path / "two.gif"]
    for file in files:
        assert main(["overlay", str(record.key), "--film", "--out", str(file), "--work", str(work)]) == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    with Image.open(files[0]) as film:
        assert (film.format, film.n_frames, film.size) == ("GIF", 16, (896, 296))
        frames = []
        for number in range(2):
            film.seek(number)
            frames.append(np.asarray(film.convert("RGB")))
        assert film.info["duration"] == 500
    assert (frames[0] != frames[1]).any()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--scan", "1"], "--scan chooses scans of a film; add --film"),
        (["--film", "--out", "film.png"], "expected a name that ends in .gif"),
        (["--out", "picture.gif"], "expected a .png, or --film for a GIF"),
        (["--film", "--scan", "no"], "scan of the cell 'no'"),
    ],
)
def test_a_mistake_about_a_film_is_one_line(
    work: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    record = drawn_cell(work, "copy-support", 2)
    capsys.readouterr()
    assert main(["overlay", str(record.key), "--work", str(work), *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
