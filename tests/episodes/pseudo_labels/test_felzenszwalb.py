"""The segmentation of volumes: by hand, against a slow second program, and against scikit-image on a line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from places import ROOT
from skimage.segmentation import felzenszwalb

from episodes.pseudo_labels.felzenszwalb import STEPS, loops, segment_volume
from protocols.conformance.parts.superpixels import same_partition

# step (z,y,x) -> its factor, by the distance between slices in units of that between pixels
FACTORS = {
    step: {
        (0, 1): lambda _s: 1.0,
        (0, 2): lambda _s: 1.0,
        (1, 0): lambda s: s,
        (1, 1): lambda s: ((1 + s**2) / 2) ** 0.5,
        (1, 2): lambda s: ((2 + s**2) / 3) ** 0.5,
    }[abs(step[0]), abs(step[1]) + abs(step[2])]
    for step in STEPS
}


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).random(shape)


def slow(volume: np.ndarray, k: float, min_size: int, ratio: float = 1.0) -> np.ndarray:
    """Return the segments by the paper's words alone: sets of voxels, no forest, nothing compiled."""
    edges = []
    for step in STEPS:
        for voxel in product(*map(range, volume.shape)):
            other = tuple(at + along for at, along in zip(voxel, step, strict=True))
            if all(0 <= at < length for at, length in zip(other, volume.shape, strict=True)):
                edges.append(
                    (abs(float(volume[voxel]) - float(volume[other])) * FACTORS[step](ratio), voxel, other)
                )
    edges.sort(key=lambda edge: edge[0])
    segment_of = {voxel: frozenset([voxel]) for voxel in product(*map(range, volume.shape))}
    inner = dict.fromkeys(segment_of.values(), 0.0)

    def join(wanted: Callable[[float, frozenset, frozenset], bool], internal: bool) -> None:
        for weight, voxel, other in edges:
            a, b = segment_of[voxel], segment_of[other]
            if a is not b and wanted(weight, a, b):
                both = a | b
                if internal:
                    inner[both] = max(inner[a], inner[b], weight)
                segment_of.update(dict.fromkeys(both, both))

    def threshold(segment: frozenset) -> np.float32:
        return np.float32(inner[segment] + k / len(segment))

    join(lambda weight, a, b: weight < min(threshold(a), threshold(b)), True)
    join(lambda _weight, a, b: min(len(a), len(b)) < min_size, False)
    names: dict[frozenset, int] = {}
    numbers = [
        names.setdefault(segment_of[voxel], len(names)) for voxel in product(*map(range, volume.shape))
    ]
    return np.array(numbers).reshape(volume.shape)


def test_a_line_by_hand() -> None:
    # Weights 1, 0, 3, 1, 9. At k = 2.1: 0 joins {1,2}, Int 0, size 2, threshold 1.05; then 1 joins {0,1,2}
    # (Int 1, threshold 1 + 0.7) and {3,4} (threshold 1 + 1.05); 3 exceeds both; 9 exceeds 2.05 and 2.1.
    line = np.array([0.0, 1.0, 1.0, 4.0, 5.0, 14.0])
    for shape in ((6, 1, 1), (1, 6, 1), (1, 1, 6)):
        found = segment_volume(line.reshape(shape), 2.1, 1).ravel()
        assert found.tolist() == [0, 0, 0, 1, 1, 2]
    # The small pass goes from the smallest weight up: 3 joins {0,1,2} to {3,4} of 2 < 3, then 9 the last.
    assert segment_volume(line.reshape(6, 1, 1), 2.1, 2).ravel().tolist() == [0, 0, 0, 1, 1, 1]
    assert segment_volume(line.reshape(6, 1, 1), 2.1, 3).ravel().tolist() == [0] * 6


def test_a_weight_that_equals_the_threshold_does_not_join() -> None:
    pair = np.array([0.0, 2.0]).reshape(1, 1, 2)
    assert segment_volume(pair, 2.0, 1).ravel().tolist() == [0, 1]
    assert segment_volume(pair, float(np.nextafter(np.float32(2), np.float32(3))), 1).ravel().tolist() == [
        0,
        0,
    ]
    assert segment_volume(pair, np.nextafter(2.0, 3), 1).ravel().tolist() == [0, 1]  # rounded to 2


def test_the_steps_are_half_of_the_26_in_the_stated_order() -> None:
    both = {*STEPS, *(tuple(-at for at in step) for step in STEPS)}
    assert len(STEPS) == 13 and both == set(product((-1, 0, 1), repeat=3)) - {(0, 0, 0)}
    assert all(step[0] == 0 for step in STEPS[:4]) and STEPS[-1] == (1, 0, 0)


def test_corners_join() -> None:
    volume = np.full((2, 2, 2), 100.0)
    volume[0, 0, 0] = volume[1, 1, 1] = 0.0  # opposite corners of a cube
    assert segment_volume(volume, 1.0, 1).ravel().tolist() == [0, 1, 1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize(("shape", "factor"), [((2, 1, 1), 6.16), ((1, 2, 1), 1.0), ((1, 1, 2), 1.0)])
def test_the_spacing_weighs_differences_between_slices(shape: tuple[int, int, int], factor: float) -> None:
    pair = np.array([0.0, 1.0]).reshape(shape)
    assert segment_volume(pair, factor + 0.01, 1, 6.16).max() == 0
    assert segment_volume(pair, factor - 0.01, 1, 6.16).max() == 1


@pytest.mark.parametrize("levels", [0, 3, 12])  # 0: no two weights are equal; else many are
@pytest.mark.parametrize(
    ("k", "min_size", "ratio"),
    [(0.3, 1, 1.0), (0.3, 1, 2.5), (1 / 255, 6, 6.16), (0.5, 4, 0.5), (2.0, 9, 1.0)],
)
def test_it_equals_a_second_program(levels: int, k: float, min_size: int, ratio: float) -> None:
    for seed, shape in enumerate([(4, 5, 6), (1, 7, 8), (9, 1, 5), (3, 6, 4)]):
        volume = noise(*shape, seed=seed)
        volume = np.floor(volume * levels) if levels else volume
        wanted = slow(volume, k, min_size, ratio)
        assert np.array_equal(segment_volume(volume, k, min_size, ratio), wanted)


@pytest.mark.parametrize("together", [1, 100, 1000])
def test_it_does_not_depend_on_how_many_edges_are_sorted_in_one_go(
    together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for volume in (noise(4, 6, 7), np.floor(5 * noise(4, 6, 7))):
        wanted = segment_volume(volume, 0.2, 4, 2.0)
        with monkeypatch.context() as patched:
            patched.setattr("episodes.pseudo_labels.felzenszwalb.TOGETHER", together)
            patched.setattr("episodes.pseudo_labels.felzenszwalb.SAMPLE", 200)
            assert np.array_equal(segment_volume(volume, 0.2, 4, 2.0), wanted)


def test_the_compiled_loop_is_the_python_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = np.floor(5 * noise(3, 5, 7))
    found = segment_volume(volume, 0.5, 3)
    monkeypatch.setattr(
        "episodes.pseudo_labels.felzenszwalb._compile", lambda: loops(lambda function: function)
    )
    assert np.array_equal(found, segment_volume(volume, 0.5, 3))


@pytest.mark.parametrize("min_size", [1, 5])
def test_on_a_line_it_is_scikit_image(min_size: int) -> None:
    line = noise(1, 300, seed=5)  # no two weights are equal, so its unstable sort has one outcome
    raw = felzenszwalb(line, scale=20.0, sigma=0, min_size=min_size)
    found = segment_volume(line[None], 20.0 / 255, min_size)[0]
    assert 10 < found.max() < 290 and same_partition(found + 1, raw + 1)


def test_no_segment_is_smaller_than_asked() -> None:
    for min_size in (2, 5, 9):
        numbers = segment_volume(noise(6, 9, 8), 1 / 255, min_size)
        assert np.bincount(numbers.ravel()).min() >= min_size and numbers.max() > 2
    assert not segment_volume(noise(2, 3, 4), 0.1, 1000).any()  # fewer voxels than asked: one segment


def test_it_repeats_and_ignores_memory_order_and_dtype() -> None:
    volume = np.floor(200 * noise(6, 9, 8)).astype(np.int16)
    found = segment_volume(volume, 1 / 255, 20)
    for same in (volume, np.asfortranarray(volume), volume.astype(np.float32), volume.astype(np.uint16)):
        assert np.array_equal(segment_volume(same, 1 / 255, 20), found)


def test_differences_of_small_integers_do_not_wrap() -> None:
    volume = np.array([[[0, 255, 0, 255]]], dtype=np.uint8)
    assert segment_volume(volume, 1.0, 1).ravel().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("volume", "k", "min_size"),
    [
        (np.zeros((2, 2)), 1.0, 1),
        (np.zeros((0, 2, 2)), 1.0, 1),
        (np.zeros((2, 2, 2)), -1.0, 1),
        (np.zeros((2, 2, 2)), 0.0, 1),
        (np.zeros((2, 2, 2)), 1.0, 0),
        (np.full((2, 2, 2), np.nan), 1.0, 1),
    ],
)
def test_what_is_no_volume_is_refused(volume: np.ndarray, k: float, min_size: int) -> None:
    with pytest.raises(ValueError, match=r"expected|not finite"):
        segment_volume(volume, k, min_size)


def test_a_spacing_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="spacing_ratio 0"):
        segment_volume(np.zeros((2, 2, 2)), 1.0, 1, 0.0)


def test_numba_is_loaded_on_use_alone() -> None:
    program = "import sys, episodes.pseudo_labels.felzenszwalb; sys.exit('numba' in sys.modules)"
    root = ROOT
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0
