"""Masks between original and prepared grid: every step against positions in mm, exact round trips."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_volumes import FACTS, write_scans

from episodes.io.nifti import NiftiImage, original_of
from episodes.io.original_grid import (
    CropPad,
    OriginalGrid,
    Reorient,
    Resample,
    original_from_json,
    prepared_shape,
    to_original_grid,
    to_store_grid,
)
from episodes.prepare.abdomen import prepare_ct, prepare_mr
from episodes.prepare.build import build_store
from episodes.prepare.crop_pad import centred
from episodes.prepare.downloads.chaos import flip_rows
from episodes.prepare.own_data.folder import own_scans, read_own_facts
from episodes.store.store import Store, store_hash
from fewshot.base.errors import UserError

TURNED = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)  # exact rotation about z
SHAPE = (6, 90, 84)


def volume() -> NiftiImage:
    draw = np.random.Generator(np.random.PCG64(3))
    image = draw.integers(1, 900, SHAPE).astype(np.int16)
    return NiftiImage(Path("case.nii.gz"), image, (5.0, 1.5, 1.7), (-12.5, 7.25, -80.0), TURNED)


def grid(*steps: Reorient | Resample | CropPad, shape: tuple[int, int, int] = (2, 3, 4)) -> OriginalGrid:
    return OriginalGrid("a.nii", "b.nii", ".nii", shape, (1, 1, 1), (0, 0, 0), TURNED, steps=steps)


def file_voxels(file: NiftiImage, prepared: NiftiImage) -> np.ndarray:
    """Return the voxel (z,y,x) of the file nearest to every prepared voxel, from positions in mm alone."""
    places = np.stack(np.meshgrid(*map(np.arange, prepared.array.shape), indexing="ij"), axis=-1)
    matrix = np.reshape(prepared.direction, (3, 3)) * prepared.spacing_mm[::-1]
    millimetres = places[..., ::-1] @ matrix.T + prepared.origin
    inverse = np.linalg.inv(np.reshape(file.direction, (3, 3)) * file.spacing_mm[::-1])
    return (millimetres - file.origin) @ inverse.T[:, ::-1]


@pytest.mark.parametrize(
    "prepare",
    [
        prepare_mr,
        prepare_ct,
        lambda file: centred(file, 88, 0),
        lambda file: prepare_mr(flip_rows(file)),
    ],
    ids=["mr", "ct", "crop and pad", "flipped mr"],
)
def test_steps_agree_with_positions_in_mm(prepare: Callable[[NiftiImage], NiftiImage]) -> None:
    file = volume()
    prepared = prepare(file)
    original = original_of(prepared)
    assert (original.shape, original.spacing_mm, original.origin) == (SHAPE, file.spacing_mm, file.origin)
    assert prepared_shape(original) == prepared.array.shape
    places = file_voxels(file, prepared)
    numbers = np.arange(1, file.array.size + 1).reshape(SHAPE)
    found = to_store_grid(numbers, original)
    near = np.floor(places + 0.5).astype(int)
    clear = (np.abs(places + 0.5 - np.round(places + 0.5)) > 1e-6).all(axis=-1)  # no rounding at one half
    inside = ((near >= 0) & (near < SHAPE)).all(axis=-1)
    assert (clear & inside).sum() > 500
    expected = np.where(inside, numbers[tuple(np.moveaxis(np.where(inside[..., None], near, 0), -1, 0))], 0)
    assert np.array_equal(found[clear], expected[clear])


def test_reorientation_and_cropping_come_back_exactly() -> None:
    mask = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    turned = grid(Reorient((2, 0, 1), (True, False, True)))
    there = to_store_grid(mask, turned)
    assert np.array_equal(there, mask.transpose(2, 0, 1)[::-1, :, ::-1]) and there.dtype == np.uint8
    assert np.array_equal(to_original_grid(there, turned), mask)
    cut = grid(CropPad((2, 3, 4), (2, 5, 2), (0, -1, 1)))
    there = to_store_grid(mask, cut)
    assert there[1].tolist() == [[0, 0], [13, 14], [17, 18], [21, 22], [0, 0]]
    back = to_original_grid(there, cut)
    assert np.array_equal(back[:, :, 1:3], mask[:, :, 1:3]) and not back[:, :, [0, 3]].any()


def test_resampling_takes_the_nearest_voxel() -> None:
    line = np.array([1, 2, 3, 4], dtype=np.uint8).reshape(1, 1, 4)
    finer = grid(Resample((1, 1, 4), (1, 1, 8), (1.0, 1.0, 0.5)), shape=(1, 1, 4))
    assert to_store_grid(line, finer).ravel().tolist() == [1, 2, 2, 3, 3, 4, 4, 0]
    assert np.array_equal(to_original_grid(to_store_grid(line, finer), finer), line)
    coarser = grid(Resample((1, 1, 4), (1, 1, 2), (1.0, 1.0, 2.0), (0.0, 0.0, 0.5)), shape=(1, 1, 4))
    assert to_store_grid(line, coarser).ravel().tolist() == [2, 4]
    assert to_original_grid(to_store_grid(line, coarser), coarser).ravel().tolist() == [2, 2, 4, 4]


def test_a_mask_of_another_shape_is_refused() -> None:
    cut = grid(CropPad((2, 3, 4), (2, 2, 2), (0, 0, 0)))
    with pytest.raises(
        UserError, match=r"a mask of a.nii has shape \(2, 2, 2\) \(z,y,x\), expected \(2, 3, 4\)"
    ):
        to_store_grid(np.zeros((2, 2, 2), dtype=bool), cut)
    with pytest.raises(UserError, match=r"has shape \(2, 3, 4\) \(z,y,x\), expected \(2, 2, 2\)"):
        to_original_grid(np.zeros((2, 3, 4), dtype=bool), cut)


def test_an_original_grid_survives_json() -> None:
    made = replace(
        grid(
            Reorient((2, 0, 1), (True, False, True)),
            Resample((4, 2, 3), (8, 2, 3), (0.5, 1.0, 1.0)),
            CropPad((8, 2, 3), (8, 4, 4), (0, -1, 0)),
        ),
        affine=tuple(float(n) for n in range(16)),
    )
    assert original_from_json(json.loads(json.dumps(made.to_json()))) == made


def test_a_store_keeps_the_original_grid_outside_its_hash(tmp_path: Path) -> None:
    write_scans(tmp_path / "scans")
    (tmp_path / "my.toml").write_text(FACTS)
    spec, scans = own_scans(tmp_path / "scans", read_own_facts(tmp_path / "my.toml", "mine"))
    store = build_store(scans, spec, tmp_path / "store")
    scan = next(iter(scans))
    pair, original = scans[scan].read(), store.scan(scan).original
    assert original is not None and original == pair.original
    assert (original.image, original.label, original.suffix) == (
        f"image_{scan}.nii.gz",
        f"label_{scan}.nii.gz",
        ".nii.gz",
    )
    entries = json.loads((store.path / "index.json").read_text())["scans"]
    bare = [{key: value for key, value in entry.items() if key != "original"} for entry in entries]
    assert store_hash(store.spec.to_json(), bare) == store.hash
    assert Store.open(store.path).scan(scan).original == original
