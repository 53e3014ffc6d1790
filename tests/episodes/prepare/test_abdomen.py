"""Preparation of abdominal scans: worked by hand, and there and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from episodes.io.nifti import NiftiImage
from episodes.prepare.abdomen import back_to, prepare_ct, prepare_ct_label, prepare_mr, prepare_mr_label
from fewshot.base.errors import UserError

OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def volume(
    array: NDArray[np.generic],
    spacing: tuple[float, float, float] = (7.7, 1.25, 1.25),
    direction: tuple[float, ...] = STRAIGHT,
) -> NiftiImage:
    return NiftiImage(Path("scan.nii.gz"), array, spacing, (10.0, -20.0, 5.0), direction)


def place(of: NiftiImage, z: int, y: int, x: int) -> NDArray[np.float64]:
    """Return where a voxel lies, (x,y,z) in mm, straight from the definition of origin and direction."""
    steps = np.array([x, y, z]) * of.spacing_mm[::-1]
    where: NDArray[np.float64] = np.asarray(of.origin) + np.reshape(of.direction, (3, 3)) @ steps
    return where


@pytest.mark.parametrize(
    ("height", "width", "row", "column"),
    [(255, 255, 0, 0), (300, 200, -22, 28), (256, 257, 0, -1)],
)
def test_mr_keeps_its_voxels_where_the_spacing_is_right(
    height: int, width: int, row: int, column: int
) -> None:
    image = volume(np.full((2, height, width), 7, dtype=np.int16), direction=OBLIQUE)
    dot = replace(image, array=np.zeros((2, height, width), dtype=np.uint8))
    dot.array[:, 100, 100] = 1
    prepared, dot_after = prepare_mr(image), prepare_mr_label(dot, [1])
    assert prepared.array.shape == (3, 256, 256) and prepared.array.dtype == np.int16  # one more slice
    y, x = 100 + row, 100 + column
    # the grid has grown by one row and column before it is cut or padded about its centre
    assert np.argwhere(dot_after.array).tolist() == [[0, y, x], [1, y, x]]
    assert dot_after.origin == prepared.origin
    np.testing.assert_allclose(place(prepared, 1, y, x), place(image, 1, 100, 100), atol=1e-9)


def test_mr_is_cut_at_the_percentile_in_its_own_type() -> None:
    array = np.arange(1000, dtype=np.int16).reshape(1, 20, 50)
    prepared = prepare_mr(volume(array))
    # percentile 99.5 of 0..999 lies at 0.995 * 999 = 994.005; int16 holds 994
    assert prepared.array.max() == 994


def test_mr_pads_with_the_minimum_and_labels_with_zero() -> None:
    array = np.full((1, 100, 100), 40, dtype=np.int16)
    array[:, 50:, :] = 60
    prepared = prepare_mr(volume(array))
    corner = prepared.array[0, 0, 0]
    assert corner == prepared.array.min() == 0  # the one row and column that resampling adds are 0
    label = prepare_mr_label(volume((array == 60).astype(np.uint8)), [1])
    assert label.array.dtype == np.uint8 and label.array[0, 0, 0] == 0
    assert label.array[0].sum() == 50 * 100


def test_ct_is_clipped_stretched_cut_and_halved() -> None:
    array = np.full((2, 512, 512), -1000, dtype=np.int16)
    array[:, :, 256:] = 900
    array[:, 256:, 256:] = 75
    image = volume(array, (3.0, 0.8, 0.8))
    prepared = prepare_ct(image)
    # (512 - 64) * 0.8 / (0.8 * 1.75) + 1 = 257; one slice more, empty
    assert prepared.array.shape == (3, 257, 257)
    assert prepared.spacing_mm == (3.0, 0.8 * 1.75, 0.8 * 1.75)
    np.testing.assert_allclose(prepared.origin, (10.0 + 32 * 0.8, -20.0 + 32 * 0.8, 5.0))
    assert not prepared.array[2].any()
    assert prepared.array[0, 10, 10] == 0
    assert prepared.array[0, 10, 200] == pytest.approx(255.0)
    assert prepared.array[0, 200, 200] == pytest.approx(255.0 / 2)  # 75 is the middle of -125..275


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.full((2, 512, 512), -1000, np.int16), "scan.nii.gz: every voxel is -125 after clipping"),
        (
            np.arange(2 * 64 * 70, dtype=np.int16).reshape(2, 64, 70),
            "slices of 64 x 70 pixels, expected more",
        ),
    ],
)
def test_no_ct_is_refused(array: NDArray[np.int16], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        prepare_ct(volume(array))


def ellipsoids(depth: int, size: int, spacing: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Return four organs of a person's size, by the sides of the middle; half axes in mm (z,y,x)."""
    grid = np.meshgrid(*(np.arange(n) * s for n, s in zip((depth, size, size), spacing, strict=True)),
                       indexing="ij")  # fmt: skip
    middle = np.array([n * s / 2 for n, s in zip((depth, size, size), spacing, strict=True)])
    array = np.zeros((depth, size, size), dtype=np.uint8)
    organs = {
        1: ((5, -10, -70), (75, 70, 65)),
        2: ((-20, 50, -50), (55, 25, 28)),
        3: ((-15, 50, 50), (55, 25, 28)),
        6: ((20, 20, 85), (50, 45, 28)),
    }
    for value, (shift, axes) in organs.items():
        centre = middle + shift
        inside = sum(((g - c) / a) ** 2 for g, c, a in zip(grid, centre, axes, strict=True)) < 1
        array[inside] = value
    return array


@pytest.mark.parametrize(
    ("modality", "depth", "size", "spacing"),
    [
        ("mr", 40, 288, (5.5, 1.37, 1.37)),
        ("mr", 28, 256, (9.0, 1.6, 1.6)),
        ("mr", 36, 320, (7.7, 1.2, 1.2)),
        ("ct", 60, 512, (3.0, 0.7, 0.7)),
    ],
)
@pytest.mark.parametrize("direction", [STRAIGHT, OBLIQUE])
def test_a_label_comes_back_to_where_it_was(
    modality: str, depth: int, size: int, spacing: tuple[float, float, float], direction: tuple[float, ...]
) -> None:
    label = volume(ellipsoids(depth, size, spacing), spacing, direction)
    values = [1, 2, 3, 6]
    prepared = (prepare_mr_label if modality == "mr" else prepare_ct_label)(label, values)
    for value in values:
        back = back_to(label, replace(prepared, array=prepared.array == value))
        truth = label.array == value
        assert back.shape == truth.shape and back.dtype == np.bool_
        dice = 2 * (back & truth).sum() / (back.sum() + truth.sum())
        assert dice >= 0.95, (value, dice)
