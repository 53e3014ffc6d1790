"""The sheet of a prepared scan: which slices, which colours, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from tiny import tiny_store

from episodes.figures import contact_sheet as contact
from episodes.figures.contact_sheet import class_colours, write_contact_sheet
from episodes.figures.scan_sheet import spread_out, superpixel_colours
from fewshot.commands.main import main


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("view") / "work"
    tiny_store(work / "stores" / "tiny", scans=2)
    return work


def pixels_like(picture: np.ndarray, colour: tuple[float, float, float]) -> int:
    return int((np.abs(picture[..., :3] - np.array(colour)).max(axis=-1) < 0.02).sum())


def rgb(text: str) -> tuple[float, float, float]:
    return tuple(int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))  # type: ignore[return-value]


def test_the_sheet_shows_every_class_and_the_superpixels(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", "--work", str(work), "tiny", "1"]) == 0
    told, path = capsys.readouterr().out.splitlines()
    assert told == "8 of 8 slices: 0, 1, 2, 3, 4, 5, 6, 7"
    assert Path(path) == work / "figures" / "tiny_1.png"
    picture = imread(path)
    for colour in class_colours(["liver", "right-kidney", "left-kidney", "spleen"]).values():
        assert pixels_like(picture, rgb(colour)) > 50
    half = len(picture) // 2
    saturated = picture[..., :3].max(axis=-1) - picture[..., :3].min(axis=-1) > 0.15
    assert saturated[half : int(0.93 * len(picture))].sum() > 4 * saturated[:half].sum() > 0


def test_a_range_without_the_class_has_no_outline_of_it(work: Path, tmp_path: Path) -> None:
    """Liver and spleen lie on slices 1 to 4, the kidneys on 3 to 6."""
    out = tmp_path / "a.png"
    assert main(["view", "--work", str(work), "tiny", "0", "--slices", "5:7", "--out", str(out)]) == 0
    picture = imread(out)
    above_legend = picture[: int(0.4 * len(picture))]
    assert pixels_like(above_legend, rgb(class_colours([])["liver"])) == 0
    assert pixels_like(above_legend, rgb(class_colours([])["left-kidney"])) > 20


def test_a_path_serves_as_well_as_a_name_and_gives_the_same_bytes(work: Path, tmp_path: Path) -> None:
    shutil.copytree(work / "stores" / "tiny", tmp_path / "elsewhere")
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    assert main(["view", "--work", str(work), "tiny", "0", "--slices", "2:3", "--out", str(one)]) == 0
    assert main(["view", str(tmp_path / "elsewhere"), "0", "--slices", "2:3", "--out", str(two)]) == 0
    assert one.read_bytes() == two.read_bytes()


def test_of_many_slices_an_even_choice_is_drawn() -> None:
    assert spread_out(range(3, 9), 6) == (3, 4, 5, 6, 7, 8)
    assert spread_out(range(11), 3) == (0, 5, 10)
    assert spread_out([2, 5, 9], 24) == (2, 5, 9)


def test_a_superpixel_has_one_colour_in_every_sheet() -> None:
    few, many = superpixel_colours(5), superpixel_colours(300)
    assert np.array_equal(few, many[:5]) and len(np.unique(many, axis=0)) == 300
    assert many.min() >= 0 and many.max() <= 1 and superpixel_colours(0).shape == (0, 3)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["tiny", "7"], "it holds 0, 1"),
        (["tyni", "0"], "did you mean 'tiny'"),
        (["tiny", "0", "--slices", "3"], "expected A:B"),
        (["tiny", "0", "--slices", "3:8"], "slices 0 to 7"),
        (["tiny", "0", "--slices", "5:3"], "no larger than B"),
        (["tiny", "0", "--slices", "-1:3"], "--slices"),
    ],
)
def test_a_mistake_is_one_line(
    command: list[str], said: str, tmp_path: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "no.png"
    assert main(["view", "--work", str(work), *command, "--out", str(out)]) == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1 and not out.exists()


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(tmp_path), "0"]) == 2
    assert "holds no index.json" in capsys.readouterr().err


def test_a_large_dataset_has_several_contact_sheets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tiny_store(tmp_path / "three", scans=3)
    (whole,) = write_contact_sheet(store, tmp_path / "whole.png")
    monkeypatch.setattr(contact, "MOST", 2)
    sheets = write_contact_sheet(store, tmp_path / "contact.png")
    assert [sheet.name for sheet in sheets] == ["contact.png", "contact-2.png"]
    first, second = (sheet.stat().st_mtime_ns for sheet in sheets)
    assert second < first  # the first sheet is written last: if it exists, all exist
    assert all(imread(sheet).shape == imread(whole).shape for sheet in sheets)
    assert not np.array_equal(imread(sheets[0]), imread(sheets[1]))
