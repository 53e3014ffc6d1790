"""Saved masks lie on the voxels of the scans' files, as another reader sees them, and score as recorded."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from small_volumes import small_scan

from episodes.io.original_grid import mask_to_store_grid
from episodes.prepare.build import build_store
from episodes.prepare.own_data.facts import read_own_facts
from episodes.prepare.own_data.folder import own_scans
from episodes.store.store import Store
from fewshot.commands.main import main
from protocols.cells.predictions import COUNTED, FACTS, read_prediction
from results.records.files import read_records

ANGLE = np.deg2rad(12)
OBLIQUE_FLIPPED = (-np.cos(ANGLE), 0, -np.sin(ANGLE), 0, 1, 0, np.sin(ANGLE), 0, -np.cos(ANGLE))
LEFT_HANDED = (1, 0, 0, 0, -1, 0, 0, 0, 1)
SAGITTAL = (0, 0, 1, 1, 0, 0, 0, -1, 0)  # rows run back, columns down, slices to the left


@dataclass(frozen=True)
class Case:
    """A dataset: ending of its files, direction, spacing (x,y,z), and keys of its facts."""

    ending: str
    direction: tuple[float, ...]
    spacing: tuple[float, float, float]
    keys: str


CASES = {
    "cropped, oblique and flipped NIfTI": Case(
        ".nii.gz", OBLIQUE_FLIPPED, (1.25, 1.5, 7.7), "image_size = 40\ncrop_or_pad = true"
    ),
    "padded, left-handed NRRD": Case(
        ".nrrd", LEFT_HANDED, (1.25, 1.5, 7.7), "image_size = 56\ncrop_or_pad = true"
    ),
    "resized and turned MHA": Case(
        ".mha", SAGITTAL, (1.25, 1.5, 4.0),
        'image_size = 32\ncrop_or_pad = true\norientation = "axial"\nslice_axis = "x"\n'
        "resample_mm = [3.0, 1.6, 1.9]",
    ),
}  # fmt: skip
LOSS = re.compile(r"keep a Dice of (\d+\.\d+) % on average and (\d+\.\d+) % at least")
FACTS_TOML = """
modality = "mr"
patient_threshold = 50
superpixel_min_size = 20
folds = 2
images = "image_{{id}}{ending}"
labels = "label_{{id}}{ending}"
{keys}
[classes]
liver = 1
tumour = 4
"""


def scan(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return image and labels (8,49,49) of a scan: two round organs that lie elsewhere in each scan."""
    image, _labels = small_scan(number, depth=8)
    rows, columns = np.mgrid[:49, :49]
    labels = np.zeros(image.shape, dtype=np.uint8)
    for value, row, column, radius, slices in ((1, 22, 14, 7.5, (2, 6)), (4, 24, 34, 4.5, (3, 5))):
        inside = (rows - row - number % 3) ** 2 + (columns - column) ** 2 < radius**2
        labels[slice(*slices), inside] = value
    image[-1] = image[-2]  # no empty slice
    return image, labels


def write_itk(path: Path, array: np.ndarray, case: Case) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(case.spacing)
    image.SetOrigin((-10.0, 20.0, 5.5))
    image.SetDirection([float(value) for value in case.direction])
    sitk.WriteImage(image, str(path))


@pytest.fixture(scope="module", params=CASES, ids=str)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with scans, their store, and a run of the yardstick with saved masks; and their ending."""
    case, folder = CASES[request.param], tmp_path_factory.mktemp("voxels")
    (folder / "scans").mkdir()
    for number in (1, 2, 3, 4):
        image, labels = scan(number)
        for kind, array in (("image", image), ("label", labels)):
            write_itk(folder / "scans" / f"{kind}_{number}{case.ending}", array, case)
    (folder / "own.toml").write_text(FACTS_TOML.format(ending=case.ending, keys=case.keys))
    spec, scans = own_scans(folder / "scans", read_own_facts(folder / "own.toml", "own"))
    build_store(scans, spec, folder / "work" / "stores" / "own", workers=1)
    run = ["run", "--work", str(folder / "work"), "--dataset", "own", "--folds", "0", "--device", "cpu"]
    assert main([*run, "--method", "copy-support", "--save-predictions"]) == 0
    plan = ["--dataset", "own", "--folds", "0", "--out", str(folder / "plan.json")]
    assert main(["plan", "--work", str(folder / "work"), *plan]) == 0
    return folder, case.ending


def cell_folder(folder: Path) -> Path:
    (cell,) = (folder / "work" / "predictions").iterdir()
    return cell


def score(folder: Path, masks: Path, work: Path, *more: str) -> list[Any]:
    """Score masks in a work folder of their own; return the scores of the record."""
    shutil.copytree(folder / "work" / "stores", work / "stores")
    words = ["--plan", str(folder / "plan.json"), "--name", "theirs", "--labels-used", "none"]
    assert main(["score", "--work", str(work), str(masks), *words, *more]) == 0
    (record,) = read_records(work / "records")
    return list(record.scores)


def test_masks_overlay_the_images_in_another_reader(made: tuple[Path, str]) -> None:
    folder, ending = made
    store = Store.open(folder / "work" / "stores" / "own")
    files = sorted(cell_folder(folder).glob("scan_*.nii.gz"))
    assert [path.name for path in files] == ["scan_1.nii.gz", "scan_2.nii.gz"]
    for path in files:
        scan = path.name[5]
        mask = sitk.ReadImage(str(path))
        image = sitk.ReadImage(str(folder / "scans" / f"image_{scan}{ending}"))
        truth = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "scans" / f"label_{scan}{ending}")))
        assert mask.GetSize() == image.GetSize()
        for place in ("GetSpacing", "GetOrigin", "GetDirection"):
            assert np.allclose(getattr(mask, place)(), getattr(image, place)(), rtol=0, atol=1e-5)
        array, counted = sitk.GetArrayFromImage(mask), cell_folder(folder)
        assert set(np.unique(array)) == {0, 1, 4}
        for name, value in (("liver", 1), ("tumour", 4)):
            expected = read_prediction(counted, store, name, scan)
            original = store.scan(scan).original
            assert original is not None
            back = mask_to_store_grid(array == value, original)
            overlap = 2 * (back & expected).sum() / (back.sum() + expected.sum())
            assert overlap == 1 if ending != ".mha" else overlap > 0.9
        # the support's outlines, on whose place in the volume the organs of every scan lie
        liver = (array == 1) & truth.any(axis=(1, 2), keepdims=True)  # slices without an organ do not count
        assert 2 * (liver & (truth == 1)).sum() / (liver.sum() + (truth == 1).sum()) > 0.6


def test_scores_of_the_masks_are_those_of_the_record(
    made: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, ending = made
    (record,) = read_records(folder / "work" / "records")
    capsys.readouterr()
    exact = score(folder, cell_folder(folder), tmp_path / "store", "--grid", "store")
    assert exact == list(record.scores) and "note:" not in capsys.readouterr().out
    brought = score(folder, cell_folder(folder), tmp_path / "original")
    printed = capsys.readouterr().out
    assert "note: masks of 2 scans lie on the original voxels" in printed
    if ending == ".mha":
        mean, least = map(float, LOSS.findall(printed)[0])
        assert 75 < least < mean < 100 and "scores may differ by as much" in printed
        dices = [(a.dice, b.dice) for a, b in zip(brought, record.scores, strict=True)]
        assert all(a == pytest.approx(b, abs=0.03) for a, b in dices) and brought != list(record.scores)
    else:
        assert brought == list(record.scores) and "nothing is resampled" in printed
    assert main(["doctor", "--work", str(tmp_path / "original")]) == 0  # the kept masks fit the record
    (key,) = (path.name for path in (tmp_path / "original" / "predictions").iterdir())
    assert main(["overlay", "--work", str(tmp_path / "original"), key]) == 0


def test_one_folder_in_every_form(made: tuple[Path, str], tmp_path: Path) -> None:
    """Masks of an older version are read; with the other grid they are written anew, as a label map."""
    folder, ending = made
    if ending != ".nrrd":
        pytest.skip("one dataset is enough")
    shutil.copytree(folder / "work", tmp_path / "work")
    cell = cell_folder(tmp_path)
    for path in (cell / COUNTED).iterdir():
        path.rename(cell / path.name)
    (cell / COUNTED).rmdir()
    (cell / FACTS).unlink()
    for scan in "12":
        (cell / f"scan_{scan}.nii.gz").unlink()
    assert main(["overlay", "--work", str(tmp_path / "work"), cell.name]) == 0
    assert main(["doctor", "--work", str(tmp_path / "work")]) == 0
    run = ["run", "--work", str(tmp_path / "work"), "--dataset", "own", "--folds", "0", "--device", "cpu"]
    run += ["--method", "copy-support", "--save-predictions"]
    assert main([*run, "--grid", "store"]) == 0 and not (cell / FACTS).exists()
    assert main(run) == 0
    assert sorted(path.name for path in cell.iterdir()) == [
        COUNTED, FACTS, "scan_1.nii.gz", "scan_2.nii.gz",
    ]  # fmt: skip
    assert main([*run, "--grid", "store"]) == 0
    stored = Store.open(tmp_path / "work" / "stores" / "own").scan("1")
    mask = sitk.ReadImage(str(cell / "scan_1.nii.gz"))
    assert mask.GetSize() == stored.image.shape[::-1] and mask.GetOrigin() == pytest.approx(stored.origin)


def test_masks_of_neither_grid_are_refused(
    made: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, ending = made
    shutil.copytree(cell_folder(folder), tmp_path / "masks")
    path = tmp_path / "masks" / "scan_2.nii.gz"
    words = ["score", "--work", str(folder / "work"), str(tmp_path / "masks"), "--name", "theirs"]
    words += ["--plan", str(folder / "plan.json"), "--labels-used", "none"]
    image = sitk.ReadImage(str(path))
    for change, said in (
        (image[:, :, :-1], f"as image_2{ending} has, or "),
        (sitk.Cast(image, sitk.sitkUInt8) * 2, "expected only 0 and the classes of own: 1 liver, 4 tumour"),
    ):
        sitk.WriteImage(change, str(path))
        assert main(words) == 2
        message = capsys.readouterr().err
        assert said in message and message.count("\n") == 1
    image.SetOrigin((0.0, 0.0, 0.0))
    sitk.WriteImage(image, str(path))
    assert main(words) == 2
    assert f"as image_2{ending} has" in capsys.readouterr().err
    sitk.WriteImage(image, str(tmp_path / "masks" / "scan_2.nrrd"))
    assert main(words) == 2
    assert "holds scan_2.nii.gz and scan_2.nrrd; keep one" in capsys.readouterr().err
