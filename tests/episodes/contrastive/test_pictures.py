"""Pictures of pre-training: which files and slices are taken, what comes out of them, what is kept."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_pictures import COLOUR, NOISE, damaged_folder, save
from small_volumes import DIRECTION, ORIGIN, SIZE, SPACING, small_scan, small_spec

from episodes.contrastive.images import open_folder, open_slices
from episodes.store.slices import Normalisation, normalisation
from episodes.store.store import SourceScan, Store, new_store
from fewshot.base.errors import UserError
from fewshot.encoders.backbone_file import image_hash


def test_bad_files_are_left_out_with_a_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fewshot"):
        found = open_folder(damaged_folder(tmp_path / "roco"))
    assert found.names == ("good.png", "radiology/images/ROCO_00002.jpg")
    assert found.left_out == {"CMYK": 1, "of one pixel": 2, "unreadable": 4}
    assert "left out 7 of 9 pictures: 1 CMYK, 2 of one pixel, 4 unreadable" in caplog.messages
    assert found.source == "roco" and len(found) == 2


def test_order_endings_and_hashes(tmp_path: Path) -> None:
    for number, name in enumerate(("b/2.PNG", "b/1.png", "a.Jpeg", "c.JPG", "b.png", "notes.txt", "x.gif")):
        if name.endswith(("txt", "gif")):
            (tmp_path / name).write_text("not looked at")
        else:
            save(tmp_path / name, COLOUR + np.uint8(number))
    found = open_folder(tmp_path)
    assert found.names == ("a.Jpeg", "b.png", "b/1.png", "b/2.PNG", "c.JPG") and found.left_out == {}
    for name, digest in zip(found.names, found.hashes, strict=True):
        assert digest == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()[:16]


def read_one(path: Path) -> torch.Tensor:
    found = open_folder(path.parent)
    assert len(found) == 1
    return found.read(0)


def test_colour_comes_out_as_stored(tmp_path: Path) -> None:
    values = read_one(save(tmp_path / "x.png"))
    assert values.dtype == torch.uint8 and values.shape == (3, 6, 5)
    assert np.array_equal(values.numpy(), COLOUR.transpose(2, 0, 1))


def test_grey_is_repeated(tmp_path: Path) -> None:
    values = read_one(save(tmp_path / "x.png", COLOUR[..., 0]))
    assert values.dtype == torch.uint8
    assert np.array_equal(values.numpy(), np.repeat(COLOUR[None, ..., 0], 3, axis=0))


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    values = read_one(save(tmp_path / "x.png", COLOUR[..., 0] > 99))
    assert np.array_equal(values.numpy(), np.repeat(255 * (COLOUR[None, ..., 0] > 99), 3, axis=0))


def test_sixteen_bits_are_scaled_by_their_own_range(tmp_path: Path) -> None:
    deep = NOISE.integers(0, 65536, (6, 5)).astype(np.uint16)
    deep[0, :2] = 0, 65535
    values = read_one(save(tmp_path / "x.png", deep))
    assert values.dtype == torch.float32 and values.shape == (3, 6, 5)
    assert np.allclose(values.numpy(), deep / 65535, rtol=1e-6, atol=0) and values.max() == 1


def test_a_palette_gives_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 2]], np.uint8))
    image.putpalette([250, 10, 20, 0, 200, 0, 30, 60, 90])
    assert image.mode == "P"
    image.save(tmp_path / "x.png")
    assert read_one(tmp_path / "x.png").permute(1, 2, 0).tolist() == [
        [[250, 10, 20], [0, 200, 0]],
        [[0, 200, 0], [30, 60, 90]],
    ]
    image.save(tmp_path / "x.png", transparency=1)
    assert read_one(tmp_path / "x.png")[:, 0].T.tolist() == [[250, 10, 20], [0, 0, 0]]


@pytest.mark.parametrize("channels", [2, 4])
def test_what_is_transparent_shows_black(tmp_path: Path, channels: int) -> None:
    array = np.full((2, 2, channels), 200, np.uint8)
    array[..., -1] = [[255, 0], [51, 255]]
    values = read_one(save(tmp_path / "x.png", array))
    assert values.shape == (3, 2, 2) and torch.equal(values[0], values[2])
    assert values[0].tolist() == [[200, 0], [40, 200]]


def test_links_pipes_and_folders_named_like_pictures(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "roco", tmp_path / "elsewhere"
    save(folder / "folder.jpg" / "1.png")
    save(elsewhere / "2.png")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "again").symlink_to(folder)
    (folder / "folder.jpg" / "up").symlink_to(tmp_path)
    (folder / "self.jpg").symlink_to(folder / "self.jpg")
    (folder / "gone.png").symlink_to(folder / "nothing.png")
    os.mkfifo(folder / "pipe.png")
    found = open_folder(folder)
    assert {Path(name).name for name in found.names} == {"1.png", "2.png"} and len(found) == 2
    assert found.left_out == {"unreadable": 3}


def test_no_folder_no_picture_and_no_good_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        open_folder(tmp_path / "nothing")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=r"no file ending in \.jpg, \.jpeg, \.png"):
        open_folder(tmp_path)
    (tmp_path / "1.jpg").write_text("x")
    save(tmp_path / "2.jpg", mode="CMYK")
    with pytest.raises(UserError, match="left out 2 of 2 pictures: 1 CMYK, 1 unreadable"):
        open_folder(tmp_path)


def test_a_file_that_goes_bad_later_is_told_of(tmp_path: Path) -> None:
    found = open_folder(save(tmp_path / "x.png").parent)
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"x\.png can't be read any more"):
        found.read(0)


def test_what_roco_has_beside_its_radiology_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for part in ("train", "test"):
        save(tmp_path / "roco" / "data" / part / "radiology" / "images" / "1.jpg")
        for name in ("2.jpg", "3.png"):
            save(tmp_path / "roco" / "data" / part / "non-radiology" / "images" / name)
    (tmp_path / "roco" / "data" / "train" / "non-radiology" / "all").symlink_to(tmp_path / "roco" / "data")
    with caplog.at_level(logging.WARNING, logger="fewshot"):
        found = open_folder(tmp_path / "roco")
    assert found.names == ("data/test/radiology/images/1.jpg", "data/train/radiology/images/1.jpg")
    assert found.left_out == {"non-radiology": 4}
    assert "left out 4 of 6 pictures: 4 non-radiology" in caplog.messages
    other = tmp_path / "roco" / "data" / "test" / "non-radiology"
    assert len(open_folder(other)) == 2  # asked for by name
    save(tmp_path / "alone" / "non-radiology" / "1.png")
    with pytest.raises(UserError, match="but 1 below non-radiology"):
        open_folder(tmp_path / "alone")


def small_store(path: Path, **changed: np.ndarray) -> Store:
    """Return a store of scans 1 and 2; slice 4 is constant, as is slice 0 of scan 2 within the cut."""
    with new_store(path, small_spec(2)) as writer:
        for number in (1, 2):
            image, labels = small_scan(number)
            if number == 2:
                image[0, :SIZE, :SIZE] = 7
            writer.add(
                SourceScan(
                    str(number), changed.get(f"scan{number}", image), labels, labels.astype(np.uint16),
                    SPACING, ORIGIN, DIRECTION, "a" * 64, "b" * 64,
                )
            )  # fmt: skip
    return Store.open(path)


def test_slices_span_0_to_1_and_carry_the_hash_of_what_is_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = small_store(tmp_path / "s")
    with caplog.at_level(logging.INFO, logger="fewshot"):
        found = open_slices(store, ["2", "1"], normalisation(store, "per-scan", ()))
    assert found.refs == (("2", 1), ("2", 2), ("2", 3), ("1", 0), ("1", 1), ("1", 2), ("1", 3))
    assert found.left_out == {"of one value": 3}
    assert "left out 3 of 10 slices: 3 of one value" in caplog.messages
    assert found.source == "chaost2" and len(found) == 7
    for number, (scan, z) in enumerate(found.refs):
        stored = store.scan(scan).image[z]
        cut = stored[:SIZE, :SIZE].astype(np.float64)
        values = found.read(number)
        assert values.dtype == torch.float32 and values.shape == (3, SIZE, SIZE)
        wanted = (cut - cut.min()) / (cut.max() - cut.min())
        assert np.abs(values.numpy() - wanted).max() < 1e-6
        assert (values.min(), values.max()) == (0, 1)
        raw = b"<i2" + str(stored.shape).encode() + stored.tobytes()
        assert found.hashes[number] == hashlib.sha256(raw).hexdigest()[:16] == image_hash(stored)


def test_an_image_hash_is_of_dtype_shape_and_bytes() -> None:
    array = np.arange(6, dtype=np.int16)
    others = [array.reshape(2, 3), array.astype("<u2"), array[::-1], array.astype(np.int32)]
    assert len({image_hash(a) for a in [array, *others]}) == 5
    grid = array.reshape(2, 3)
    assert image_hash(np.asfortranarray(grid)) == image_hash(grid) and len(image_hash(grid)) == 16


def test_no_scan_an_unknown_one_and_no_slice(tmp_path: Path) -> None:
    store = small_store(tmp_path / "s")
    intensities = normalisation(store, "per-scan", ())
    with pytest.raises(UserError, match="no scan of chaost2"):
        open_slices(store, [], intensities)
    with pytest.raises(UserError, match="scan '9' is not in"):
        open_slices(store, ["9"], intensities)
    flat = small_store(tmp_path / "flat", scan1=np.ones_like(small_scan(1)[0]))
    with pytest.raises(UserError, match="5 of one value"):
        open_slices(flat, ["1"], intensities)


def test_values_that_are_one_when_normalised_are_one_value(tmp_path: Path) -> None:
    image = small_scan(1)[0].astype(np.float64)
    image[1], image[1, 0, 0] = 100, 100 + 1e-9
    store = small_store(tmp_path / "s", scan1=image)
    found = open_slices(store, ["1"], normalisation(store, "per-scan", ()))
    assert found.left_out == {"of one value": 2} and found.refs[:2] == (("1", 0), ("1", 2))


def test_slices_are_those_of_the_given_normalisation(tmp_path: Path) -> None:
    store = small_store(tmp_path / "s")
    found = open_slices(store, ["1"], Normalisation("per-scan", {"1": (0.0, -1.0)}))
    upright = open_slices(store, ["1"], Normalisation("per-scan", {"1": (0.0, 1.0)}))
    assert torch.allclose(found.read(0), 1 - upright.read(0), atol=1e-6)
