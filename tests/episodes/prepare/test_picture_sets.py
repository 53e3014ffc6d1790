"""Sets of pictures: layouts, folds, channels, and one line for every bad file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from episodes.prepare.picture_sets.build import build_picture_store, same_pictures
from episodes.prepare.picture_sets.layouts import find_pictures
from episodes.store.dataset import load_dataset_spec
from fewshot.base.errors import UserError
from fewshot.base.types import SliceRef

RNG = np.random.default_rng(0)


def save(folder: Path, name: str, size: tuple[int, int] = (40, 48), image: str = "jpg") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    picture = RNG.integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(picture).save(folder / f"{name}.{image}")


def save_mask(folder: Path, name: str, size: tuple[int, int] = (40, 48)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, dtype=np.uint8)
    mask[8:30, 10:30] = 255
    Image.fromarray(mask).save(folder / f"{name}.png")


@pytest.fixture
def isic(tmp_path: Path) -> Path:
    names = iter(f"ISIC_{number:07d}" for number in range(9))
    for part, count in (("Training", 4), ("Validation", 2), ("Test", 3)):
        for _ in range(count):
            name = next(names)
            save(tmp_path / f"ISIC2018_Task1-2_{part}_Input", name)
            save_mask(tmp_path / f"ISIC2018_Task1_{part}_GroundTruth", f"{name}_segmentation")
    return tmp_path


def test_published_parts_are_folds(isic: Path) -> None:
    found = find_pictures(isic)
    assert found.fold_borders == (0, 4, 6, 9)
    parts = [pair.part for pair in found.pairs.values()]
    assert parts == ["training"] * 4 + ["validation"] * 2 + ["test"] * 3


def test_ph2_has_folds_of_equal_size(tmp_path: Path) -> None:
    for number in range(6):
        name = f"IMD{number:03d}"
        save(tmp_path / name / f"{name}_Dermoscopic_Image", name, image="bmp")
        save(tmp_path / name / f"{name}_roi", f"{name}_R1", image="bmp")
        save_mask(tmp_path / name / f"{name}_lesion", f"{name}_lesion")
    assert find_pictures(tmp_path, folds=3).fold_borders == (0, 2, 4, 6)


def test_a_store_keeps_colours_beside_the_grey_picture(isic: Path, tmp_path: Path) -> None:
    spec = load_dataset_spec("isic2018")
    found = find_pictures(isic)
    store = build_picture_store(found, spec, tmp_path / "store", workers=1)
    scan = store.scan("ISIC_0000000")
    assert store.spec.channels == ("red", "green", "blue") and scan.channels.shape == (3, 1, 256, 256)
    assert scan.image.shape == scan.labels.shape == (1, 256, 256) and set(np.unique(scan.labels)) == {0, 1}
    assert same_pictures(store, found)
    save_mask(isic / "ISIC2018_Task1_Test_GroundTruth", "ISIC_0000008_segmentation", (40, 48))
    from episodes.store.slices import SliceReader, normalisation

    reader = SliceReader(store, normalisation(store, "per-scan", store.index.scans))
    assert reader.channels([SliceRef("ISIC_0000000", 0)]).shape == (1, 3, 256, 256)


def _other_size(mask: Path) -> None:
    Image.fromarray(np.zeros((10, 10), dtype=np.uint8)).save(mask)


def _deep(mask: Path) -> None:
    Image.fromarray(np.zeros((40, 48), dtype=np.uint16)).save(mask)


def _palette(mask: Path) -> None:
    Image.fromarray(np.zeros((40, 48), dtype=np.uint8)).convert("P").save(mask)


def _grey(mask: Path) -> None:
    values = np.zeros((40, 48), dtype=np.uint8)
    values[:, :3] = (0, 100, 255)
    Image.fromarray(values).save(mask)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_other_size, "expected equal sizes"),
        (_deep, "has 16-bit values, expected one grey channel"),
        (_palette, "has palette colours, expected one grey channel"),
        (_grey, "holds the values 0, 100, 255, expected 0 and 255"),
        (Path.unlink, "has no mask"),
        (lambda mask: mask.write_bytes(b"no picture"), "cannot be read as a picture"),
    ],
)
def test_bad_masks_are_one_line(isic: Path, tmp_path: Path, spoil: object, message: str) -> None:
    spoil(isic / "ISIC2018_Task1_Test_GroundTruth" / "ISIC_0000007_segmentation.png")  # type: ignore[operator]
    with pytest.raises(UserError, match=message) as error:
        build_picture_store(find_pictures(isic), load_dataset_spec("isic2018"), tmp_path / "store", workers=1)
    assert "\n" not in str(error.value) and not (tmp_path / "store").exists()
