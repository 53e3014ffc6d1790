"""Masks of one class between the grids: resampled as labels are prepared, compared with ITK."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from episodes.io.nifti import NiftiImage, original_of, read_nifti
from episodes.io.original_grid import (
    CropPad,
    OriginalGrid,
    Reorient,
    Resample,
    is_resampled,
    mask_to_original_grid,
    mask_to_store_grid,
    to_original_grid,
    to_store_grid,
)
from episodes.prepare.abdomen import _resample_classes, back_to, prepare_ct_label, prepare_mr_label
from episodes.prepare.grid_rules import label_on_grid
from episodes.store.dataset import load_dataset_spec

TURNED = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


def blobs(shape: tuple[int, int, int] = (12, 90, 84)) -> NiftiImage:
    z, y, x = np.mgrid[: shape[0], : shape[1], : shape[2]]
    inside = ((z - 5) / 4) ** 2 + ((y - 45) / 11) ** 2 + ((x - 42) / 8) ** 2 < 1
    return NiftiImage(Path("a.nii.gz"), inside.astype(np.uint8), (5.0, 1.5, 1.7), (-12.5, 7.0, 8.0), TURNED)


@pytest.mark.parametrize("prepare", [prepare_mr_label, prepare_ct_label])
def test_both_ways_agree_with_itk(prepare) -> None:  # type: ignore[no-untyped-def]
    file = blobs()
    prepared = prepare(file, (1,))
    original = original_of(prepared)
    assert is_resampled(original)
    brought = mask_to_store_grid(file.array == 1, original)
    assert brought.sum() > 400 and (brought != (prepared.array == 1)).mean() < 1e-4  # ties of one half
    back = mask_to_original_grid(brought, original)
    assert (back != back_to(file, replace(prepared, array=brought.astype(np.uint8)))).mean() < 1e-4


def test_without_resampling_nothing_is_lost() -> None:
    mask = np.arange(24).reshape(2, 3, 4) % 5 == 0
    steps = (Reorient((2, 0, 1), (True, False, True)), CropPad((4, 2, 3), (4, 5, 3), (0, -1, 0)))
    original = OriginalGrid("a", "b", "", (2, 3, 4), (1, 1, 1), (0, 0, 0), TURNED, steps=steps)
    assert not is_resampled(original)
    there = mask_to_store_grid(mask, original)
    assert np.array_equal(there, to_store_grid(mask, original))
    assert np.array_equal(mask_to_original_grid(there, original), mask)
    assert np.array_equal(to_original_grid(there, original), mask)


def test_a_share_of_more_than_one_half_is_needed_and_the_border_voxel_holds_for_half_a_voxel() -> None:
    line = np.array([True, True, False, False]).reshape(1, 1, 4)
    step = Resample((1, 1, 4), (1, 1, 9), (1.0, 1.0, 0.5), (0.0, 0.0, -0.75))
    original = OriginalGrid("a", "b", "", (1, 1, 4), (1, 1, 1), (0, 0, 0), TURNED, steps=(step,))
    # places -0.75, -0.25, 0.25, 0.75, 1.25, 1.75, ...: shares none, 1, 1, 1, 0.75, 0.25, ...
    there = mask_to_store_grid(line, original)
    assert there.ravel().tolist() == [False, True, True, True, True, False, False, False, False]
    middle = replace(step, offset=(0.0, 0.0, -0.5))  # place 1.5: a share of exactly one half
    tie = replace(original, steps=(middle,))
    assert mask_to_store_grid(line, tie).ravel().tolist()[3:5] == [True, False]


@pytest.mark.volumes
@pytest.mark.slow
def test_organs_of_chaos_survive_preparation_and_the_way_back(shared: Path) -> None:
    """The prepared volumes stand in for files: resampled by own facts, and as files of other spacings."""
    spec = replace(load_dataset_spec("chaost2"), resample_mm=(6.0, 1.5, 1.5))
    least = 1.0
    for path in sorted((shared / "data" / "chaos_t2").glob("label_*.nii.gz")):
        label = read_nifti(path)
        file = replace(_resample_classes(label, (1, 2, 3, 4), (5.5, 1.6, 1.6)), original=None)
        for source, prepared in (
            (label, label_on_grid(label, spec)),
            (file, prepare_mr_label(file, (1, 2, 3, 4))),
        ):
            for value in (1, 2, 3, 4):
                truth = source.array == value
                back = mask_to_original_grid(prepared.array == value, original_of(prepared))
                least = min(least, 2 * (back & truth).sum() / (back.sum() + truth.sum()))
    assert least >= 0.95
