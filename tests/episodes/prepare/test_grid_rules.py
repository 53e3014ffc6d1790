"""Geometry of a user's scans: turned axes, other slices, resampling; exact positions and the inverse."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from small_volumes import small_spec

from episodes.io.geometry import affine_of
from episodes.io.nifti import NiftiImage, original_of
from episodes.io.original_grid import to_original_grid, to_store_grid
from episodes.prepare.grid_rules import (
    axial_warning,
    image_on_grid,
    label_on_grid,
    smaller_slices,
    turn,
)
from episodes.prepare.scan import RawScan, pair_of
from episodes.pseudo_labels.patient_threshold import threshold_of
from episodes.store.dataset import DatasetSpec, spec_from_table
from episodes.store.store import store_hash
from fewshot.base.errors import UserError

SPEC = small_spec()


def volume(direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)) -> NiftiImage:
    array = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    return NiftiImage(Path("a.nii.gz"), array, (5.0, 2.0, 1.0), (10.0, -20.0, 30.0), direction)


def position(image: NiftiImage, value: int) -> np.ndarray:
    z, y, x = (int(place) for place in np.argwhere(image.array == value)[0])
    return affine_of(image) @ (x, y, z, 1)


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_a_turned_volume_keeps_the_place_of_every_voxel_and_comes_back(axes: tuple[int, ...]) -> None:
    for flips in product((False, True), repeat=3):
        turned = turn(volume(), axes, flips)
        for value in (0, 5, 23):
            assert np.allclose(position(turned, value), position(volume(), value))
        assert np.array_equal(to_store_grid(volume().array, original_of(turned)), turned.array)
        assert np.array_equal(to_original_grid(turned.array, original_of(turned)), volume().array)


@pytest.mark.parametrize(
    "columns",
    [
        (columns, signs)
        for columns in permutations(range(3))
        for signs in ((1, 1, 1), (-1, 1, -1), (-1, -1, -1))
    ],
)
def test_axial_gives_left_back_and_up_from_any_axes(columns: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    matrix = np.eye(3)[:, columns[0]] * columns[1]
    angle = np.deg2rad(12)
    oblique = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    image = volume(tuple((oblique @ matrix).ravel().tolist()))
    turned = image_on_grid(image, replace(SPEC, orientation="axial"))
    assert np.allclose(np.reshape(turned.direction, (3, 3)), oblique)
    assert np.allclose(position(turned, 7), position(image, 7))


def test_slices_along_another_axis() -> None:
    for axis, shape, spacing in (("y", (3, 2, 4), (2.0, 5.0, 1.0)), ("x", (4, 2, 3), (1.0, 5.0, 2.0))):
        turned = image_on_grid(volume(), replace(SPEC, slice_axis=axis))
        assert (turned.array.shape, turned.spacing_mm) == (shape, spacing)
        assert np.array_equal(turned.array[1, 0], {"y": [4, 5, 6, 7], "x": [1, 5, 9]}[axis])


def test_a_header_without_axes_cannot_be_turned() -> None:
    image = replace(
        volume(), warnings=("header has neither qform nor sform: the axes' directions are not known",)
    )
    with pytest.raises(UserError, match="header does not say how the axes lie"):
        image_on_grid(image, replace(SPEC, orientation="axial"))
    assert axial_warning(image, SPEC) == ()


def test_slices_that_are_not_axial_are_warned_of() -> None:
    coronal = volume((1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0))
    assert "follow one another from front to back" in axial_warning(coronal, SPEC)[0]
    for quiet in (replace(SPEC, orientation="axial"), replace(SPEC, region="heart")):
        assert axial_warning(coronal, quiet) == ()
    assert axial_warning(volume(), SPEC) == ()


def test_resampling_keeps_positions_and_takes_the_class_with_the_largest_share() -> None:
    spec = replace(SPEC, resample_mm=(0.0, 1.0, 2.0), classes={"a": 1, "b": 2})
    ramp = np.broadcast_to(np.arange(8.0) * 10, (1, 5, 8)).copy()
    image = replace(volume(), array=ramp)
    small = image_on_grid(image, spec)
    assert (small.array.shape, small.spacing_mm) == ((1, 9, 4), (5.0, 1.0, 2.0))
    assert np.array_equal(small.array[0, 3], [0, 20, 40, 60])
    label = np.zeros((1, 5, 8), dtype=np.uint8)
    label[:, :3], label[:, 3:] = 1, 2
    rows = label_on_grid(replace(volume(), array=label), spec).array[0, :, 0]
    assert rows.tolist() == [1, 1, 1, 1, 1, 1, 2, 2, 2]  # half of both at row 5: the first class


def test_geometry_is_in_the_hash_only_when_it_is_on() -> None:
    plain = SPEC.to_json()
    assert not plain.keys() & {"orientation", "slice_axis", "resample_mm", "in_plane_mm"}
    changes: list[DatasetSpec] = [
        replace(SPEC, orientation="axial"), replace(SPEC, slice_axis="y"), replace(SPEC, in_plane_mm=2.0),
        replace(SPEC, resample_mm=(0.0, 1.5, 1.5)), replace(SPEC, patient_threshold="auto"),
    ]  # fmt: skip
    hashes = {store_hash(spec.to_json(), []) for spec in (SPEC, *changes)}
    assert len(hashes) == 6
    for spec in changes:
        assert spec_from_table(spec.to_json(), "here") == spec


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("orientation", "coronal", "key orientation is 'coronal', expected one of as-is, axial"),
        ("slice_axis", "3", "key slice_axis is '3', expected one of z, y, x"),
        ("resample_mm", [1.5, 1.5], r"resample_mm is \[1.5, 1.5\], expected three numbers"),
        ("resample_mm", [1.5, 1.5, -1], r"expected three numbers \[z, y, x\] in mm up to 100"),
        ("patient_threshold", "otsu", "key patient_threshold is 'otsu', expected a float"),
    ],
)
def test_wrong_geometry_is_one_line(key: str, value: object, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        spec_from_table({**SPEC.to_json(), key: value}, "here")


def test_smaller_slices_keep_the_field_of_view_under_a_name_of_their_own() -> None:
    image = replace(volume(), array=np.ones((2, 48, 48), dtype=np.int16), spacing_mm=(5.0, 1.25, 1.25))
    label = replace(image, array=np.zeros((2, 48, 48), dtype=np.uint8))
    label.array[:, 10:30, 20:40] = 4
    raw = {"1": RawScan((), (), lambda: pair_of(image, label, image))}
    spec, scans = smaller_slices(SPEC, raw, 2.5)
    assert (spec.name, spec.base_name, spec.image_size) == ("chaost2-2.5mm", "chaost2", 24)
    assert spec.superpixel_min_size == 5
    pair = scans["1"].read()
    assert pair.image.array.shape == (2, 24, 24) and pair.image.spacing_mm == (5.0, 2.5, 2.5)
    assert np.array_equal(pair.label.array == 4, label.array[:, ::2, ::2] == 4)
    assert np.array_equal(to_store_grid(label.array, pair.original), pair.label.array)
    with pytest.raises(UserError, match="the spacing of chaost2 is not known"):
        smaller_slices(replace(SPEC, spacing_known=False), raw, 2.5)
    with pytest.raises(UserError, match=r"expected 0\.312 mm or more"):
        smaller_slices(SPEC, raw, 0.01)


def test_the_auto_threshold_is_relative_to_the_scan() -> None:
    grey = np.linspace(0, 1000, 101)
    assert threshold_of(grey, "auto", "mr") == pytest.approx(0.1 * 980 + 10)
    assert threshold_of(7 * grey, "auto", "mr") == pytest.approx(7 * threshold_of(grey, "auto", "mr"))
    assert threshold_of(grey, 33.5, "mr") == 33.5
    padded = np.concatenate([np.full(50, -3024.0), np.full(100, -1000.0), np.linspace(-100, 200, 150)])
    assert -1000 < threshold_of(padded, "auto", "ct") < -100
