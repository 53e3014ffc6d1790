"""Cardiac downloads: labels remapped by name, the end-diastolic frame taken, squares about the centre."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cardiac_scans import (
    DIRECTION,
    ORIGIN,
    SPACING,
    heart,
    labels_of,
    small_heart_spec,
    write,
    write_acdc,
    write_cmr,
)

from episodes.io.nifti import NiftiImage, read_nifti
from episodes.prepare.crop_pad import centred, square_pair
from episodes.prepare.downloads import acdc, cmr
from episodes.prepare.downloads.acdc import end_diastolic_frame, rescaled
from episodes.prepare.downloads.layouts import LAYOUTS
from episodes.prepare.scan import pair_of
from fewshot.base.errors import UserError


def volume(array: np.ndarray, path: str = "here.nii.gz") -> NiftiImage:
    return NiftiImage(Path(path), array, SPACING, ORIGIN, DIRECTION)


@pytest.mark.parametrize(
    ("row", "size", "expected", "first"),
    [
        ([1, 2, 3, 4, 5], 3, [2, 3, 4], 1),
        ([1, 2, 3, 4], 3, [1, 2, 3], 0),  # the pixel more is cut at the end
        ([1, 2, 3, 4, 5, 6, 7], 4, [2, 3, 4, 5], 1),
        ([1, 2], 4, [9, 1, 2, 9], -1),
        ([1, 2, 3], 4, [9, 1, 2, 3], -1),  # and added at the beginning
        ([1, 2, 3, 4], 4, [1, 2, 3, 4], 0),
    ],
)
def test_a_line_is_cropped_or_padded_about_its_centre(
    row: list[int], size: int, expected: list[int], first: int
) -> None:
    across = centred(volume(np.full((2, size, 1), row[0]) * 0 + np.array(row)), size, 9)
    assert across.array.shape == (2, size, size)
    assert across.array[1, 0].tolist() == expected
    assert across.origin == (ORIGIN[0] + first * SPACING[2], ORIGIN[1], ORIGIN[2])
    down = centred(volume(np.broadcast_to(np.array(row)[None, :, None], (2, len(row), size))), size, 9)
    assert down.array[0, :, 0].tolist() == expected
    assert down.origin == (ORIGIN[0], ORIGIN[1] + first * SPACING[1], ORIGIN[2])


def test_a_square_is_padded_with_the_image_s_minimum_and_background() -> None:
    image, label = volume(np.full((1, 2, 6), -7, dtype=np.int16)), volume(np.ones((1, 2, 6), dtype=np.uint8))
    image.array[0, 0, 3] = 50
    pair = square_pair(pair_of(image, label, image), 4)
    assert pair.image.array.dtype == np.int16 and pair.label.array.dtype == np.uint8
    assert pair.image.array[0].tolist() == [[-7] * 4, [-7, -7, 50, -7], [-7] * 4, [-7] * 4]
    assert pair.label.array[0].tolist() == [[0] * 4, [1] * 4, [1] * 4, [0] * 4]
    assert (pair.raw_shape, pair.raw_spacing_mm, pair.cut_off) == ((1, 2, 6), SPACING, 4)


def test_cmr_labels_become_the_dataset_s_values_by_name(tmp_path: Path) -> None:
    spec = small_heart_spec("cmr")
    write_cmr(tmp_path, scans=3)  # one patient more than the dataset has
    assert cmr.detect(tmp_path) and not acdc.detect(tmp_path)
    scans = cmr.raw_scans(tmp_path, spec)
    assert list(scans) == ["1", "2"]
    pair = scans["2"].read()
    image, masks = heart(2)
    assert pair.image.array.dtype == np.int16
    assert np.array_equal(pair.image.array[:, :, 2:46], image[:, 1:49])
    assert (pair.image.array[:, :, :2] == 30).all() and (pair.image.array[:, :, 46:] == 30).all()
    for value, name in enumerate(("lv-myo", "lv-bp", "rv"), start=1):
        assert np.array_equal(pair.label.array[:, :, 2:46] == value, masks[name][:, 1:49])
    assert [path.name for path in scans["2"].labels] == ["patient2_C0_manual.nii.gz"]


def _cmr_value(folder: Path) -> None:
    write(
        folder / "gt" / "patient2_C0_manual.nii.gz",
        labels_of(heart(2)[1], {"lv-myo": 200, "lv-bp": 420, "rv": 600}),
    )


def _cmr_twice(folder: Path) -> None:
    write(folder / "gt" / "patient1_C0.nii.gz", heart(1)[0])


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (_cmr_value, "patient2_C0_manual.nii.gz holds the values 0, 200, 420, 600, expected only"),
        (_cmr_twice, "keep one of them"),
        (lambda folder: (folder / "gt" / "patient1_C0_manual.nii.gz").unlink(), "no patient1_C0_manual"),
        (lambda folder: (folder / "images" / "patient2_C0.nii.gz").unlink(), "holds no patient2_C0.nii.gz"),
        (
            lambda folder: write(folder / "images" / "patient1_C0.nii.gz", heart(1)[0][:-1]),
            "patient1_C0_manual.nii.gz has shape (4, 50, 44) (z,y,x), expected (3, 50, 44)",
        ),
    ],
)  # fmt: skip
def test_a_bad_cmr_folder_is_refused(tmp_path: Path, spoil: Callable[[Path], object], complaint: str) -> None:
    spoil(write_cmr(tmp_path))
    with pytest.raises(UserError) as error:
        for scan in cmr.raw_scans(tmp_path, small_heart_spec("cmr")).values():
            scan.read()
    assert complaint in str(error.value)


def test_acdc_takes_the_end_diastolic_frame_of_each_patient_and_no_other(tmp_path: Path) -> None:
    spec = small_heart_spec("acdc")
    write_acdc(tmp_path, scans=3, frame=4)
    assert acdc.detect(tmp_path) and acdc.detect(tmp_path / "training") and not cmr.detect(tmp_path)
    scans = acdc.raw_scans(tmp_path, spec)
    assert list(scans) == ["1", "2"]
    assert scans["2"].images[0].name == "patient002_frame04.nii.gz"
    assert scans["2"].labels[0].name == "patient002_frame04_gt.nii.gz"
    pair = scans["2"].read()
    image, masks = heart(402)
    stored = rescaled(volume(image)).array
    assert (
        np.array_equal(pair.image.array[:, :, 2:46], stored[:, 1:49]) and pair.image.array.dtype == np.uint16
    )
    assert (pair.image.array[:, :, :2] == 0).all()
    for value, name in enumerate(("rv", "lv-myo", "lv-bp"), start=1):
        assert np.array_equal(pair.label.array[:, :, 2:46] == value, masks[name][:, 1:49])
    assert pair.raw_spacing_mm == pytest.approx(SPACING)


def test_every_download_is_of_our_own_preparation_and_the_published_layout_is_not() -> None:
    found = {name: layout.prepared_by for name, layout in LAYOUTS.items()}
    assert found.pop("published") == "published-layout"
    assert len(found) == 11 and set(found.values()) == {"fewshot"}


def test_acdc_intensities_run_from_the_minimum_to_the_99th_percentile() -> None:
    image = volume(np.arange(-100, 101, dtype=np.int16).reshape(1, 3, 67))  # percentile 98
    found = rescaled(image).array.ravel()
    assert found[0] == 0 and (found[198:] == 4095).all()
    assert found[99] == round(99 / 198 * 4095) and found[197] == round(197 / 198 * 4095)
    with pytest.raises(UserError, match="99 % of its voxels are 5"):
        rescaled(volume(np.full((1, 4, 4), 5)))


@pytest.mark.parametrize(
    ("text", "frame"), [("ED: 1\nES: 12\n", 1), ("Group: HCM\r\nED:14\r\n", 14), ("ES: 2\n ED : 7", 7)]
)
def test_info_names_the_frame(tmp_path: Path, text: str, frame: int) -> None:
    (tmp_path / "Info.cfg").write_text(text)
    assert end_diastolic_frame(tmp_path / "Info.cfg") == frame


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda patient: (patient / "Info.cfg").unlink(), "Info.cfg: no such file; expected a line"),
        (lambda patient: (patient / "Info.cfg").write_text("ES: 3"), "Info.cfg has 0 lines `ED: number`"),
        (lambda patient: (patient / "Info.cfg").write_text("ED: one"), "Info.cfg has 0 lines `ED: number`"),
        (lambda patient: (patient / "Info.cfg").write_bytes(b"\xff\xfe\x00"), "cannot be read as text"),
        (lambda patient: (patient / "Info.cfg").write_text("ED: 7"), "holds 0 of patient002_frame07.nii.gz"),
        (
            lambda patient: (patient / "patient002_frame01_gt.nii.gz").unlink(),
            "patient002 holds 0 of patient002_frame01_gt.nii.gz and patient002_frame01_gt.nii, expected one",
        ),
        (
            lambda patient: write(patient / "patient002_frame01.nii", heart(2)[0]),
            "patient002 holds 2 of patient002_frame01.nii.gz",
        ),
        (lambda patient: patient.rename(patient.with_name("patient009")), "holds no folder patient002"),
        (lambda patient: (patient.parent / "patient2").mkdir(), "holds patient002 and patient2; keep one"),
    ],
)  # fmt: skip
def test_a_bad_acdc_folder_is_refused(
    tmp_path: Path, spoil: Callable[[Path], object], complaint: str
) -> None:
    write_acdc(tmp_path, scans=2)
    spoil(tmp_path / "training" / "patient002")
    with pytest.raises(UserError) as error:
        acdc.raw_scans(tmp_path, small_heart_spec("acdc"))
    assert complaint in str(error.value)


def test_neither_download_is_seen_in_an_empty_folder(tmp_path: Path) -> None:
    assert not cmr.detect(tmp_path) and not acdc.detect(tmp_path)


@pytest.mark.volumes
def test_real_hearts_are_brighter_than_the_threshold(shared: Path) -> None:
    from episodes.pseudo_labels.superpixels import patient_mask
    from episodes.store.dataset import load_dataset_spec

    spec = load_dataset_spec("acdc")
    for scan, most in ((2, 0.9), (19, 1.0), (29, 0.9)):  # 19 is noisy to its corners
        image, label = (
            read_nifti(shared / "data" / "acdc_ed" / f"{kind}_{scan}.nii.gz").array
            for kind in ("image", "label")
        )
        patient = np.stack([patient_mask(pixels, spec.patient_threshold) for pixels in image])
        assert not ((label > 0) & ~patient).any() and 0.5 < patient.mean() < most
