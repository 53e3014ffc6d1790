"""NIfTI files: array order, geometry as SimpleITK counts it, and every file that is refused."""

from __future__ import annotations

import gzip
import os
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from small_volumes import DIRECTION, ORIGIN, SPACING, small_scan

from episodes.io.nifti import NiftiImage, check_pair, read_nifti, write_nifti
from fewshot.base.errors import UserError

KNOWN = {"liver": 1, "spleen": 4}


def _pair(tmp_path: Path) -> tuple[NiftiImage, NiftiImage]:
    image, labels = small_scan(1)
    write_nifti(tmp_path / "image_1.nii.gz", image, SPACING, ORIGIN, DIRECTION)
    write_nifti(tmp_path / "label_1.nii.gz", labels, SPACING, ORIGIN, DIRECTION)
    return read_nifti(tmp_path / "image_1.nii.gz"), read_nifti(tmp_path / "label_1.nii.gz")


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "float64", "int32", ">i2"])
def test_round_trip_keeps_values_type_and_geometry(tmp_path: Path, dtype: str) -> None:
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(dtype)
    angle = 0.1
    oblique = (np.cos(angle), -np.sin(angle), 0.0, np.sin(angle), np.cos(angle), 0.0, 0.0, 0.0, 1.0)
    write_nifti(tmp_path / "a.nii.gz", array, SPACING, ORIGIN, oblique)
    back = read_nifti(tmp_path / "a.nii.gz")
    assert np.array_equal(back.array, array) and back.array.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_allclose(back.spacing_mm, SPACING, rtol=1e-6)
    np.testing.assert_allclose(back.origin, ORIGIN, rtol=1e-6)
    np.testing.assert_allclose(back.direction, oblique, atol=1e-6)


def test_order_and_geometry_are_simpleitks(tmp_path: Path) -> None:
    angle = 0.05
    direction = (1.0, 0.0, 0.0, 0.0, np.cos(angle), -np.sin(angle), 0.0, np.sin(angle), np.cos(angle))
    write_nifti(tmp_path / "a.nii.gz", small_scan(2)[0], SPACING, ORIGIN, direction)
    ours, other = read_nifti(tmp_path / "a.nii.gz"), SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
    assert np.array_equal(ours.array, SimpleITK.GetArrayFromImage(other))
    np.testing.assert_allclose(ours.spacing_mm[::-1], other.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(ours.origin, other.GetOrigin(), rtol=1e-6)
    np.testing.assert_allclose(ours.direction, other.GetDirection(), atol=1e-6)


def test_equal_volumes_give_equal_files(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(tmp_path / name, small_scan(1)[0], SPACING, ORIGIN, DIRECTION)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_nifti(tmp_path / "image_1.nii.gz")


@pytest.mark.parametrize("keep", [0, 5, 200, 0.5, -1])
def test_truncated_file(tmp_path: Path, keep: float) -> None:
    _pair(tmp_path)
    path = tmp_path / "image_1.nii.gz"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep == 0.5 else int(keep)])
    with pytest.raises(
        UserError, match=r"image_1\.nii\.gz(: unreadable or truncated| is an empty file|: truncated)"
    ) as error:
        read_nifti(path)
    assert "\n" not in str(error.value)


def test_unreadable_files(tmp_path: Path) -> None:
    _pair(tmp_path)
    content = (tmp_path / "image_1.nii.gz").read_bytes()
    (tmp_path / "text.nii.gz").write_text("no volume")
    (tmp_path / "flipped.nii.gz").write_bytes(content[:400] + os.urandom(50) + content[450:])
    (tmp_path / "short.nii").write_bytes(gzip.decompress(content)[:-10])
    for name in ("text.nii.gz", "flipped.nii.gz", "short.nii"):
        with pytest.raises(UserError, match=f"{name}(: unreadable or truncated|: truncated| is a text file)"):
            read_nifti(tmp_path / name)


def test_four_dimensions_are_refused(tmp_path: Path) -> None:
    nibabel.Nifti1Image(np.zeros((4, 4, 4, 2), dtype=np.int16), np.eye(4)).to_filename(tmp_path / "a.nii.gz")
    with pytest.raises(UserError, match=r"shape \(4, 4, 4, 2\), expected three dimensions"):
        read_nifti(tmp_path / "a.nii.gz")


def test_pair_that_belongs_together(tmp_path: Path) -> None:
    image, label = _pair(tmp_path)
    assert check_pair("1", image, label, KNOWN) is None
    rounded = tuple(value + 4e-4 for value in label.direction)
    check_pair("1", image, replace(label, direction=rounded), KNOWN)


def test_pairs_that_do_not(tmp_path: Path) -> None:
    image, label = _pair(tmp_path)
    nan = image.array.astype(np.float32)
    nan[2, 3, 4] = np.nan
    labels = label.array.copy()
    labels[0, 0, 0] = 7
    for bad_image, bad_label, complaint in (
        (
            image,
            replace(label, array=label.array[:-1]),
            "has shape (4, 49, 49) (z,y,x), expected (5, 49, 49)",
        ),
        (
            image,
            replace(label, spacing_mm=(7.7, 1.25, 1.25)),
            "has spacing (7.7, 1.25, 1.25) mm (z,y,x), expected",
        ),
        (image, replace(label, direction=(-1.0, *DIRECTION[1:])), "has direction (-1, "),
        (
            replace(image, array=nan),
            label,
            "1 voxels that are NaN or infinite, the first at (z,y,x) = (2, 3, 4)",
        ),
        (
            image,
            replace(label, array=labels),
            "unknown label value 7; known: 0 background, 1 liver, 4 spleen",
        ),
        (image, replace(label, array=label.array + 0.5), "unknown label value 0.5;"),
    ):
        with pytest.raises(UserError) as error:
            check_pair("1", bad_image, bad_label, KNOWN)
        assert complaint in str(error.value) and "_1.nii.gz" in str(error.value), str(error.value)
        assert "\n" not in str(error.value)
