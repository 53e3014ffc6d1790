"""Voxel grids: what is checked in a header, how two grids are compared, and masks in other orientations."""

from __future__ import annotations

import itertools
import struct
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_bytes import with_element
from download_scans import STEP, anatomy, write_chaos, write_dicom

from episodes.io.dicom import read_series
from episodes.io.geometry import Grid, affine_of, grid_difference, grid_of_affine, onto_axes
from episodes.io.nifti import check_pair, read_label, read_nifti, write_nifti
from fewshot.base.errors import UserError, numbers_apart

SHAPE = (6, 5, 4)  # (x,y,z)
AFFINE = np.diag([1.25, 1.5, 7.7, 1.0])
AFFINE[:3, 3] = [-40, -30, -20]
PATH = Path("scan.nii.gz")


def write(
    path: Path,
    affine: np.ndarray = AFFINE,
    array: np.ndarray | None = None,
    unit: str = "mm",
    qform: bool = True,
) -> Path:
    image = nibabel.Nifti1Image(np.zeros(SHAPE, np.int16) if array is None else array, affine)
    image.set_sform(affine, 1)
    if qform:
        image.set_qform(affine, 1)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return path


def tilted(degrees: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[1, 2] = 7.7 * np.tan(np.radians(degrees))
    return affine


def test_a_gantry_tilt_gives_the_distance_of_the_slices_and_a_warning(tmp_path: Path) -> None:
    image = read_nifti(write(tmp_path / "a.nii", tilted(20), qform=False))
    assert image.spacing_mm == pytest.approx((7.7, 1.5, 1.25), rel=1e-6)
    assert np.prod(image.spacing_mm) == pytest.approx(abs(np.linalg.det(tilted(20)[:3, :3])), rel=1e-6)
    axes = np.reshape(image.direction, (3, 3))
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    assert len(image.warnings) == 1 and "tilted by 20.0 degrees" in image.warnings[0]
    assert image.affine is not None
    write_nifti(
        tmp_path / "b.nii", image.array, image.spacing_mm, image.origin, image.direction, image.affine
    )
    np.testing.assert_allclose(nibabel.load(tmp_path / "b.nii").affine, tilted(20), rtol=1e-6)
    assert read_nifti(tmp_path / "b.nii").spacing_mm == image.spacing_mm


def test_positions_in_metres_and_micrometres_become_mm(tmp_path: Path) -> None:
    for unit, scale in (("meter", 1e-3), ("micron", 1e3)):
        affine = AFFINE.copy()
        affine[:3] *= scale
        image = read_nifti(write(tmp_path / f"{unit}.nii", affine, unit=unit))
        assert image.spacing_mm == pytest.approx((7.7, 1.5, 1.25), rel=1e-6) and image.affine is None
        assert image.origin == pytest.approx((40, 30, -20), rel=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a * [[np.nan]], "not finite"),
        (lambda a: a @ np.diag([1, 1, 0, 1]), "singular"),
        (lambda a: a[:, [0, 0, 2, 3]], "singular"),
        (lambda a: a[:, [0, 1, 1, 3]], "singular"),
        (lambda a: a + np.outer([0, 0.3, 0, 0], [1, 0, 0, 0]), "rows and columns are at"),
        (lambda a: tilted(60), "tilted by 60 degrees"),
        (lambda a: a @ np.diag([2, 2, 2, 1]), "its affine gives spacing (15.4, 3, 2.5)"),
    ],
)  # fmt: skip
def test_an_affine_that_is_no_grid_is_refused(change: object, said: str) -> None:
    with pytest.raises(UserError, match=r"scan\.nii\.gz") as error:
        grid_of_affine(PATH, np.asarray(change(AFFINE.copy())), (1.25, 1.5, 7.7))  # type: ignore[operator]
    assert said in str(error.value)


@pytest.mark.parametrize("size", [0.0, -1.0, 1e-5, 1e5, float("nan"), float("inf")])
def test_a_spacing_that_no_scanner_has_is_refused(size: float) -> None:
    with pytest.raises(UserError, match="header gives spacing"):
        grid_of_affine(PATH, AFFINE, (1.25, 1.5, size))


def test_a_qform_that_contradicts_the_sform_is_a_warning(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros(SHAPE, np.int16), AFFINE)
    image.set_sform(AFFINE, 1)
    for change, warned in ((np.eye(4), False), (np.diag([-1, 1, 1, 1.0]), True)):
        image.set_qform(change @ AFFINE, 1)
        nibabel.save(image, tmp_path / "a.nii")
        warnings = read_nifti(tmp_path / "a.nii").warnings
        assert bool(warnings) is warned and all("qform and sform differ" in text for text in warnings)


def test_no_axes_at_all_is_a_warning(tmp_path: Path) -> None:
    raw = bytearray(write(tmp_path / "a.nii").read_bytes())
    struct.pack_into("<2h", raw, 252, 0, 0)
    (tmp_path / "a.nii").write_bytes(raw)
    assert "neither qform nor sform" in read_nifti(tmp_path / "a.nii").warnings[0]


def test_image_and_label_must_have_one_origin(tmp_path: Path) -> None:
    image = read_nifti(write(tmp_path / "image.nii"))
    label = read_label(write(tmp_path / "label.nii"))
    check_pair("1", image, replace(label, origin=(40.05, 30.0, -20.0)), {})
    with pytest.raises(
        UserError, match=r"label\.nii has origin \(40.5, 30, -20\) mm \(x,y,z\), expected \(40,"
    ):
        check_pair("1", image, replace(label, origin=(40.5, 30.0, -20.0)), {})


def test_a_mask_in_any_of_48_orientations_is_the_same_mask(tmp_path: Path) -> None:
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    stored = read_nifti(write(tmp_path / "stored.nii", array=array))
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            turned = np.transpose(array, order)[tuple(np.s_[::sign] for sign in signs)]
            affine = np.eye(4)
            for axis, (old, sign) in enumerate(zip(order, signs, strict=True)):
                affine[:3, axis] = sign * AFFINE[:3, old]
            corner = [SHAPE[old] - 1 if sign < 0 else 0 for old, sign in zip(order, signs, strict=True)]
            first = np.zeros(3)
            first[list(order)] = corner
            affine[:3, 3] = AFFINE[:3, :3] @ first + AFFINE[:3, 3]
            mask = read_nifti(write(tmp_path / "mask.nii", affine, np.ascontiguousarray(turned)))
            back, grid = onto_axes(mask.array, mask, stored)
            assert np.array_equal(back, stored.array), (order, signs)
            assert grid_difference(grid, stored) is None


def test_a_grid_that_is_turned_by_some_degrees_is_another_one() -> None:
    grid = Grid((7.7, 1.5, 1.25), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    c, s = np.cos(0.1), np.sin(0.1)
    other = replace(grid, direction=(c, -s, 0.0, s, c, 0.0, 0.0, 0.0, 1.0))
    array = np.zeros((2, 3, 4))
    same, found = onto_axes(array, other, grid)
    assert same is array and "direction" in str(grid_difference(found, grid))
    np.testing.assert_allclose(affine_of(grid), np.diag([-1.25, -1.5, 7.7, 1.0]))


def test_numbers_in_messages_show_their_difference() -> None:
    assert numbers_apart((1.25, 7.7), (1.25, 7.70001)) == ("(1.25, 7.7)", "(1.25, 7.70001)")
    assert numbers_apart((1.0,), (2.0,)) == ("(1)", "(2)")


@pytest.mark.parametrize(
    ("factor", "accepted"), [(1.0, True), (0.9999999, True), (1.0004, True), (1.002, False), (1.5, False)]
)
def test_label_values_within_a_thousandth_of_an_integer_are_that_integer(
    tmp_path: Path, factor: float, accepted: bool
) -> None:
    values = np.zeros(SHAPE)
    values[1:3], values[4] = factor, 2 * factor
    label = read_label(write(tmp_path / "label.nii", array=values))
    image = read_nifti(write(tmp_path / "image.nii"))
    known = {"liver": 1, "spleen": 2}
    if accepted:
        check_pair("1", image, label, known)
        assert set(np.unique(label.array).tolist()) == {0, 1, 2} and label.array.dtype.kind == "i"
    else:
        with pytest.raises(UserError, match=f"unknown label value {factor!r}"):
            check_pair("1", image, label, known)


def series(folder: Path, shift: float) -> list[Path]:
    """Write seven slices, each moved in y by `shift` mm more than the one below."""
    files = []
    for z in range(7):
        path = folder / f"{z}.dcm"
        write_dicom(path, anatomy(1)[0][z], STEP * z, "1.2.3")
        position = f"-100\\{-90 + z * shift:.6g}\\{STEP * z:.6g}".encode()
        path.write_bytes(with_element(path.read_bytes(), (0x20, 0x32), position))
        files.append(path)
    return files


def test_a_tilted_series_is_a_warning_and_keeps_its_distance(tmp_path: Path) -> None:
    volume, _order = read_series(series(tmp_path / "straight", 0.0))
    assert volume.warnings == ()
    volume, _order = read_series(series(tmp_path / "tilted", 2.8))
    assert volume.spacing_mm[0] == pytest.approx(STEP, rel=1e-6)
    assert "tilted by 20.0 degrees" in volume.warnings[0]


def test_echo_times_that_are_one_number_and_slopes_per_slice_are_one_series(tmp_path: Path) -> None:
    files = []
    for z in range(4):
        path = tmp_path / f"{z}.dcm"
        write_dicom(path, anatomy(1)[0][z], STEP * z, "1.2.3", **{"0018|0081": "80" if z % 2 else "80.0"})
        raw = with_element(path.read_bytes(), (0x28, 0x1052), b"0")
        path.write_bytes(with_element(raw, (0x28, 0x1053), b"1" if z < 2 else b"1.5"))
        files.append(path)
    volume, _order = read_series(files)
    assert volume.array.dtype == np.float64
    assert np.array_equal(volume.array[1], anatomy(1)[0][1])
    np.testing.assert_allclose(volume.array[3], 1.5 * anatomy(1)[0][3])


def test_upper_case_and_ima_files_are_dicom(tmp_path: Path) -> None:
    from episodes.prepare.downloads.chaos import _files

    home = write_chaos(tmp_path, scans=1) / "Train_Sets" / "MR" / "1" / "T2SPIR"
    for number, path in enumerate(sorted((home / "DICOM_anon").iterdir())):
        path.rename(path.with_suffix(".IMA" if number % 2 else ".DCM"))
    assert len(_files(home / "DICOM_anon", (".dcm", ".ima"))) == 7
