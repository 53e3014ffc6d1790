"""Superpixels: hand-made patients and numbers first, then the released maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage.segmentation import felzenszwalb

from episodes.pseudo_labels.superpixels import outlines, patient_mask, superpixels, volume_superpixels
from protocols.conformance.parts.superpixels import check, same_partition


def test_patient_is_the_largest_eight_connected_component_with_its_holes() -> None:
    picture = """
        ##..........
        ##....####..
        .....#....#.
        .....#.##.#.
        .....#.##..#
        ......#####.
        ............
        .###########
        ............"""
    wanted = """
        ............
        ......####..
        .....######.
        .....######.
        .....#######
        ......#####.
        ............
        ............
        ............"""
    image = 51 * np.array(
        [[c == "#" for c in line.strip()] for line in picture.split("\n")[1:]], dtype=np.int16
    )
    mask = np.array([[c == "#" for c in line.strip()] for line in wanted.split("\n")[1:]])
    assert np.array_equal(patient_mask(image, 50.0001), mask)


def test_threshold_is_exclusive_and_nothing_above_is_nobody() -> None:
    image = np.full((4, 4), 50, dtype=np.int16)
    assert not patient_mask(image, 50.0).any()
    assert patient_mask(image + 1, 50.0).all()
    assert not superpixels(image, 50.0, 4).any()


def test_numbers_are_the_released_ones() -> None:
    """Of raw 0 .. n-1: n-1 is n, 0 is none, the patient cuts, the rest keep their number."""
    noise = np.random.Generator(np.random.PCG64(0))
    image = noise.integers(60, 255, (64, 64)).astype(np.int16)
    image[:, :9] = 0
    raw = felzenszwalb(image.astype(np.float64), scale=1, sigma=1, min_size=30)
    found = superpixels(image, 50.0001, 30)
    count = int(raw.max()) + 1
    assert count > 4 and (raw[:, 9:] == 0).sum() + (raw[:, :9] == 0).sum() > 0
    wanted = raw.copy()
    wanted[raw == count - 1] = count
    wanted[~patient_mask(image, 50.0001)] = 0
    assert np.array_equal(found, wanted)
    assert count - 1 not in found and count in found


def test_integers_and_floats_give_one_partition() -> None:
    noise = np.random.Generator(np.random.PCG64(1))
    image = noise.integers(60, 255, (48, 48))
    assert np.array_equal(
        superpixels(image.astype(np.int16), 1.0, 20), superpixels(image.astype(np.float64), 1.0, 20)
    )


def test_threads_do_not_change_the_maps() -> None:
    noise = np.random.Generator(np.random.PCG64(2))
    volume = noise.integers(0, 255, (6, 40, 40)).astype(np.int16)
    volume[3] = 0
    done: list[int] = []
    maps = volume_superpixels(volume, 50.0001, 20, 3, done.append)
    assert done == [1] * 6 and maps.dtype == np.uint16 and not maps[3].any()
    for image, found in zip(volume, maps, strict=True):
        assert np.array_equal(found, superpixels(image, 50.0001, 20))


def test_outline_of_a_square_lies_half_a_pixel_outside() -> None:
    mask = np.zeros((6, 6), dtype=bool)
    mask[0:3, 2:4] = True
    (line,) = outlines(mask)
    assert line.min(axis=0).tolist() == [-0.5, 1.5] and line.max(axis=0).tolist() == [2.5, 3.5]


def test_same_partition_ignores_numbers_alone() -> None:
    a = np.array([[0, 1, 1], [2, 2, 3]])
    assert same_partition(a, np.array([[0, 9, 9], [4, 4, 1]]))
    assert not same_partition(a, np.array([[0, 9, 9], [4, 4, 4]]))  # two joined
    assert not same_partition(a, np.array([[0, 9, 8], [4, 4, 1]]))  # one torn
    assert not same_partition(a, np.array([[5, 9, 9], [4, 4, 1]]))  # zero elsewhere


@pytest.mark.parametrize(("family", "scans"), [("chaos_like", 20), ("gaps_like", 20), ("sabs_like", 30)])
def test_released_maps(golden: Path, family: str, scans: int) -> None:
    quantities = list(check(golden / family))
    assert len(quantities) == scans and all(quantity.ok for quantity in quantities), quantities


def test_another_threshold_is_noticed(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(check.__globals__["DATASETS"], "gaps_like", "sabs")
    assert not any(quantity.ok for quantity in check(golden / "gaps_like"))
