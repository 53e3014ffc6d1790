"""`fewshot prepare` on the CHAOS and Synapse downloads; each bad one gets one line and no store."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from download_scans import (
    DEPTH,
    LPS,
    SPACING,
    STEP,
    anatomy,
    write_chaos,
    write_chaos_scan,
    write_dicom,
    write_synapse,
)

from episodes.io.nifti import NiftiImage, write_nifti
from episodes.prepare.abdomen import prepare_mr, prepare_mr_label
from episodes.prepare.downloads.chaos import read_pair
from episodes.prepare.orientation import better_orientation
from episodes.store import dataset
from episodes.store.dataset import load_dataset_spec
from episodes.store.store import Store
from fewshot.commands.main import main

HEADER_STEP = float(np.float32(STEP))  # as a NIfTI header holds it: 7 slices stay 7
CHAOS = replace(
    load_dataset_spec("chaost2"), scans=("1", "2", "3"), fold_borders=(0, 1, 3), superpixel_min_size=100
)
SYNAPSE = replace(
    load_dataset_spec("sabs"),
    classes={"spleen": 1, "right-kidney": 2, "left-kidney": 3, "liver": 6},
    scans=("0", "1", "2"),
    fold_borders=(0, 1, 3),
    image_size=176,
    superpixel_min_size=100,
)


@pytest.fixture(autouse=True)
def three_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let both sets have three scans."""
    small = {"chaost2": CHAOS, "sabs": SYNAPSE}
    monkeypatch.setattr(dataset, "load_dataset_spec", lambda name: small[name])


@pytest.fixture(scope="module")
def chaos_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chaos(tmp_path_factory.mktemp("chaos"))


@pytest.fixture
def chaos(chaos_once: Path, tmp_path: Path) -> Path:
    """A good CHAOS download that a test may spoil."""
    return shutil.copytree(chaos_once, tmp_path / "raw")


@pytest.fixture
def synapse(tmp_path: Path) -> Path:
    return write_synapse(tmp_path / "raw")


def t2spir(root: Path, scan: int = 2) -> Path:
    return root / "Train_Sets" / "MR" / str(scan) / "T2SPIR"


def prepare(name: str, folder: Path, work: Path) -> int:
    return main(["prepare", name, str(folder), "--work", str(work), "--workers", "1"])


@pytest.mark.parametrize("inner", ["", "Train_Sets", "Train_Sets/MR"])
def test_chaos_download_becomes_a_store(
    chaos: Path, tmp_path: Path, inner: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare("chaost2", chaos / inner, tmp_path / "work") == 0
    printed = capsys.readouterr().out
    assert "CHAOS download" in printed and "3 scans" in printed
    assert f"files: {DEPTH} x 90 x 90 voxels of 7.7 x 2.5 x 2.5 mm (z, y, x)" in printed
    assert "store: 7 x 256 x 256 voxels of 7.7 x 1.25 x 1.25 mm (z, y, x)" in printed
    assert "labelled voxels that lie in the body: 100.0 % or more" in printed
    store = Store.open(tmp_path / "work" / "stores" / "chaost2")
    assert store.prepared_by == "fewshot" and "prepared by: this program" in printed
    for number in (1, 2, 3):
        # the published volumes: upward, rows from back to front
        image, labels = (array[:, ::-1].copy() for array in anatomy(number))
        wanted = NiftiImage(Path("hand"), image, (HEADER_STEP, SPACING, SPACING), (0.0, 0.0, 0.0), LPS)
        scan = store.scan(str(number))
        # half-way voxels round by the last bit of the origin
        assert np.abs(scan.image.astype(int) - prepare_mr(wanted).array).max() <= 1
        assert np.array_equal(
            scan.labels, prepare_mr_label(replace(wanted, array=labels), [1, 2, 3, 4]).array
        )
        assert [len(np.unique(scan.labels))] == [5]
    assert not any("fits its image better" in text for text in store.warnings)


def test_dicom_geometry_is_that_of_its_voxels(chaos: Path) -> None:
    images, labels = (sorted(t2spir(chaos).glob(pattern)) for pattern in ("*/*.dcm", "*/*.png"))
    image, label = read_pair("2", images, labels, CHAOS)
    assert image.spacing_mm == pytest.approx((STEP, SPACING, SPACING))
    # voxel (z, y, x) = (1, 89, 2) is DICOM's slice 1, first row, third column
    place = np.array(image.origin) + np.reshape(image.direction, (3, 3)) @ (2 * SPACING, 89 * SPACING, STEP)
    np.testing.assert_allclose(place, (-100 + 2 * SPACING, -90, 40 + STEP), atol=1e-6)
    assert np.array_equal(label.array[:, ::-1], anatomy(2)[1])


def _gap(root: Path) -> None:
    for file in (t2spir(root) / "DICOM_anon/IMG-0004-00003.dcm", t2spir(root) / "Ground/IMG-0004-00003.png"):
        file.unlink()


def _other_position(root: Path) -> None:
    write_dicom(t2spir(root) / "DICOM_anon/IMG-0004-00099.dcm", anatomy(2)[0][3], 40 + 3 * STEP + 0.1, "1.9")


def _other_echo(root: Path) -> None:
    file = t2spir(root) / "DICOM_anon/IMG-0004-00003.dcm"
    write_dicom(file, anatomy(2)[0][4], 40 + 4 * STEP, "1.9", **{"0018|0081": "2.3"})


def _other_size(root: Path) -> None:
    file = t2spir(root) / "DICOM_anon/IMG-0004-00003.dcm"
    write_dicom(file, anatomy(2)[0][4, :80], 40 + 4 * STEP, "1.9")


def _two_series(root: Path) -> None:
    for z in range(DEPTH):
        series = "1.2.3" if z < 3 else "1.2.4"
        file = t2spir(root) / f"DICOM_anon/IMG-0004-{DEPTH - z:05d}.dcm"
        write_dicom(file, anatomy(2)[0][z], 40 + z * STEP, series)


def _fewer_masks(root: Path) -> None:
    (t2spir(root) / "Ground/IMG-0004-00001.png").unlink()


def _names(root: Path) -> None:
    file = t2spir(root) / "Ground/IMG-0004-00001.png"
    file.rename(file.with_name("IMG-0004-00055.png"))


def _change_masks(root: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    for file in (t2spir(root) / "Ground").iterdir():
        picture = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
        sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(change(picture))), str(file))


def _flipped_rows(root: Path) -> None:
    _change_masks(root, lambda picture: picture[::-1])


def _flipped_columns(root: Path) -> None:
    _change_masks(root, lambda picture: picture[:, ::-1])


def _outside(root: Path) -> None:
    _change_masks(root, lambda picture: np.roll(picture, 50, axis=(0, 1)))


def _value(root: Path) -> None:
    _change_masks(root, lambda picture: np.where(picture == 63, 64, picture))


def _mask_size(root: Path) -> None:
    _change_masks(root, lambda picture: picture[:-1])


def _colour_mask(root: Path) -> None:
    file = t2spir(root) / "Ground/IMG-0004-00001.png"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((90, 90, 3), np.uint8), isVector=True), str(file))


def _no_dicom(root: Path) -> None:
    (t2spir(root) / "DICOM_anon/IMG-0004-00001.dcm").write_bytes(b"not a slice")


def _no_masks(root: Path) -> None:
    shutil.rmtree(t2spir(root) / "Ground")


def _few(root: Path) -> None:
    shutil.rmtree(t2spir(root, 3))


def _no_spleen(root: Path) -> None:
    for scan in (1, 2, 3):
        for file in (t2spir(root, scan) / "Ground").iterdir():
            picture = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
            picture[picture == 252] = 0
            sitk.WriteImage(sitk.GetImageFromArray(picture), str(file))


def _empty(root: Path) -> None:
    shutil.rmtree(root / "Train_Sets")


def _both(root: Path) -> None:
    (root / "image_1.nii.gz").write_bytes(b"")


def complaints(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("fewshot: error:")]


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (_gap, "DICOM_anon: a slice is missing between IMG-0004-00004.dcm and IMG-0004-00002.dcm, 15.4 mm"),
        (_other_position, "DICOM_anon mixes series: "),
        (_other_echo, "DICOM_anon mixes series: IMG-0004-00001.dcm has echo time 70, IMG-0004-00003.dcm"),
        (_other_size, "mixes series: IMG-0004-00001.dcm has size (90, 90), IMG-0004-00003.dcm has (80, 90)"),
        (_two_series, "mixes series: IMG-0004-00001.dcm has series 1.2.4, IMG-0004-00005.dcm has 1.2.3"),
        (_fewer_masks, "scan 2: {root}/Train_Sets/MR/2/T2SPIR/Ground holds 6 masks, expected 7"),
        (_names, "scan 2: no mask in {root}/Train_Sets/MR/2/T2SPIR/Ground has the number of IMG-0004-00001"),
        (_flipped_rows, "scan 2: the label fits its image better flipped in its rows"),
        (_flipped_columns, "scan 2: the label fits its image better flipped in its columns"),
        (_outside, "scan 2: "),
        (_value, "holds the unknown value 64; known: 0, 63, 126, 189, 252"),
        (_mask_size, "has 89 x 90 pixels, expected 90 x 90 as its DICOM slice has"),
        (_colour_mask, "IMG-0004-00001.png has 3 values per pixel, as colour pictures have"),
        (_no_dicom, "IMG-0004-00001.dcm cannot be read as a DICOM slice"),
        (_no_masks, "Ground holds no .png files"),
        (_few, "holds 2 scans, too few for the folds of chaost2, expected 3: 1 are missing (3)"),
        (_no_spleen, "no scan holds a voxel of spleen (value 4)"),
        (_empty, "holds no image_ID.nii.gz (published) and no MR/ID/T2SPIR (CHAOS download)"),
        (_both, "has more than one layout (published, CHAOS download)"),
    ],
)  # fmt: skip
def test_bad_chaos_download_is_refused(
    chaos: Path, tmp_path: Path, spoil: Callable[[Path], None], complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    spoil(chaos)
    assert prepare("chaost2", chaos, tmp_path / "work") == 2
    errors = complaints(capsys)
    assert len(errors) == 1 and complaint.format(root=chaos) in errors[0], errors
    assert not (tmp_path / "work" / "stores" / "chaost2").exists()


def test_a_copied_scan_is_told_by_both_ids(
    chaos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(chaos / "Train_Sets" / "MR" / "3")
    shutil.copytree(chaos / "Train_Sets" / "MR" / "1", chaos / "Train_Sets" / "MR" / "3")
    assert prepare("chaost2", chaos, tmp_path / "work") == 0
    assert "warning: scans 1 and 3 hold the same image" in capsys.readouterr().out


def test_synapse_download_becomes_a_store(
    synapse: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare("sabs", synapse, tmp_path / "work") == 0
    printed = capsys.readouterr().out
    assert "Synapse download" in printed and "files: 4 x 384 x 384 voxels of 5 x 1 x 1 mm" in printed
    store = Store.open(tmp_path / "work" / "stores" / "sabs")
    assert store.index.scans == ("0", "1", "2") and store.prepared_by == "fewshot"
    first = store.scan("1")  # numbers 3, 8, 21 become 0, 1, 2
    assert first.image.shape == (5, 183, 183)  # int(320 / 1.75 + 1); one slice more
    assert prepare("sabs", synapse, tmp_path / "work") == 0
    assert "already prepared" in capsys.readouterr().out


def _lone(root: Path) -> None:
    (root / "label" / "label0008.nii.gz").unlink()


def _lone_label(root: Path) -> None:
    (root / "img" / "img0008.nii.gz").unlink()


def _four_dimensions(root: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((9, 9, 9, 2), np.int16), np.eye(4))
    nibabel.save(image, root / "img" / "img0008.nii.gz")


def _colours(root: Path) -> None:
    colour = np.zeros((9, 9, 9), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colour, np.eye(4)), root / "img" / "img0008.nii.gz")


def _wrong_value(root: Path) -> None:
    labels = np.full((4, 384, 384), 99, np.uint8)
    write_nifti(root / "label/label0008.nii.gz", labels, (5.0, 1.0, 1.0), (1.0, 2.0, 3.0), LPS)


def _less(root: Path) -> None:
    for kind in ("img", "label"):
        (root / kind / f"{kind}0008.nii.gz").unlink()


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (_lone, "label holds no label0008.nii.gz, the partner of img/img0008.nii.gz"),
        (_lone_label, "img holds no img0008.nii.gz, the partner of label/label0008.nii.gz"),
        (_four_dimensions, "img0008.nii.gz: holds an array of shape (9, 9, 9, 2), expected three dimensions"),
        (_colours, "img0008.nii.gz: voxels are of type [('R', 'u1'), ('G', 'u1'), ('B', 'u1')]"),
        (_wrong_value, "label0008.nii.gz holds the unknown label value 99"),
        (_less, "holds 2 scans, the folds of sabs need 3"),
    ],
)
def test_bad_synapse_download_is_refused(
    synapse: Path, tmp_path: Path, spoil: Callable[[Path], None], complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    spoil(synapse)
    assert prepare("sabs", synapse, tmp_path / "work") == 2
    errors = complaints(capsys)
    assert len(errors) == 1 and complaint in errors[0], errors
    assert not (tmp_path / "work" / "stores" / "sabs").exists()


def test_edges_tell_the_way_round_by_hand() -> None:
    image, labels = anatomy(1)
    assert better_orientation(image, labels) is None
    assert better_orientation(image, labels[:, ::-1]) == "flipped in its rows"
    assert better_orientation(image, labels[:, ::-1, ::-1]) == "turned by half in plane"


def test_scan_writer_makes_what_it_says(tmp_path: Path) -> None:
    write_chaos_scan(tmp_path, 1)
    assert len(list((tmp_path / "1" / "T2SPIR" / "DICOM_anon").iterdir())) == DEPTH
