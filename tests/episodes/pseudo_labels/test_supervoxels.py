"""Supervoxels: how the patient cuts them, and how they are kept beside a store."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from seal_again import edit_json
from tiny import tiny_spec, tiny_store

from episodes.pseudo_labels.felzenszwalb import segment_volume
from episodes.pseudo_labels.superpixels import patient_mask
from episodes.pseudo_labels.supervoxels import (
    MIN_SIZE,
    ensure_supervoxels,
    min_size_of,
    stored_supervoxels,
    volume_supervoxels,
)
from episodes.store.dataset import REGIONS, load_dataset_spec
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.files.atomic_io import sha256_of
from fewshot.files.seals import add_seal
from protocols.conformance.parts.superpixels import same_partition


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two scans with its supervoxels."""
    store = tiny_store(tmp_path_factory.mktemp("made") / "tiny", scans=2)
    ensure_supervoxels(store, workers=1)
    return store.path


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Store:
    shutil.copytree(made, tmp_path / "tiny")
    return Store.open(tmp_path / "tiny")


def test_sizes_are_those_of_the_region_whatever_the_slices() -> None:
    assert min_size_of(tiny_spec()) == min_size_of(load_dataset_spec("chaost2")) == 5000
    assert min_size_of(load_dataset_spec("cmr")) == 1000
    assert set(MIN_SIZE) == set(REGIONS)


ISOTROPIC = (1.0, 1.0, 1.0)


def test_the_patient_cuts_what_was_found_in_the_whole_volume() -> None:
    noise = np.random.Generator(np.random.PCG64(0))
    volume = noise.integers(60, 255, (5, 16, 18)).astype(np.int16)
    volume[:, :, :5] = 0
    volume[3] = 0  # a slice without patient
    volume[0, 8, 8] = 255  # the range is 0 .. 255, so nothing is rescaled
    found = volume_supervoxels(volume, (6.0, 1.5, 1.5), 6)
    segments = segment_volume(volume, 1 / 255, 6, 4.0)
    patient = np.stack([patient_mask(image, 10.0) for image in volume])
    assert np.array_equal(found > 0, patient) and not found[3].any()
    numbers = np.unique(found)
    assert numbers.tolist() == list(range(len(numbers))) and len(numbers) > 4 and found.dtype == np.uint16
    pairs = {tuple(pair) for pair in zip(segments[patient].tolist(), found[patient].tolist(), strict=True)}
    assert len(pairs) == len(numbers) - 1  # a segment and a number belong to each other
    assert np.bincount(segments.ravel()).min() >= 6


def test_only_the_range_and_the_ratio_of_spacings_matter() -> None:
    noise = np.random.Generator(np.random.PCG64(1))
    volume = noise.integers(0, 2000, (4, 16, 16)).astype(np.float64)
    volume[:, 4:12, 4:12] += 500
    found = volume_supervoxels(volume, (6.0, 1.5, 1.5), 8)
    assert found.max() > 3
    assert same_partition(volume_supervoxels(volume / 2 - 512, (6.0, 1.5, 1.5), 8), found)
    assert same_partition(volume_supervoxels(volume, (12.0, 3.0, 3.0), 8), found)
    assert not same_partition(volume_supervoxels(volume, ISOTROPIC, 8), found)


def test_a_voxel_is_patient_above_10_of_255_of_the_range() -> None:
    volume = np.zeros((1, 3, 4))
    volume[0, 1] = [255.0, 10.0, 10.001, 0.0]
    found = volume_supervoxels(100 + 2 * volume, ISOTROPIC, 1)
    assert (found > 0).sum() == 1  # the largest of two components; the first where they are equal
    volume[0, 1, 1] = 10.001
    assert (volume_supervoxels(100 + 2 * volume, ISOTROPIC, 1) > 0).sum() == 3


def test_min_size_acts_before_masking() -> None:
    volume = np.full((2, 6, 6), 2.0)
    volume[0, 0, 0] = 0.0
    volume[:, 2:4, 2:4] = 255.0
    assert np.array_equal(volume_supervoxels(volume, ISOTROPIC, 1) > 0, volume > 10)
    joined = volume_supervoxels(volume, ISOTROPIC, 9)  # 8 bright voxels are too few, so they join the 64 dark
    assert np.array_equal(joined, (volume > 10).astype(np.uint16))  # and the patient's part of it remains


def test_nobody_there_is_no_supervoxel() -> None:
    assert not volume_supervoxels(np.full((2, 4, 4), 7.0), ISOTROPIC, 2).any()


def test_more_than_uint16_holds_are_int32() -> None:
    volume = np.random.Generator(np.random.PCG64(0)).uniform(20, 255, (2, 200, 200))
    volume[0, 0, 0] = 0
    found = volume_supervoxels(volume, ISOTROPIC, 1)
    assert found.dtype == np.int32 and found.max() > np.iinfo(np.uint16).max


def test_a_store_keeps_its_hash_and_gets_maps_of_every_scan(store: Store) -> None:
    maps = stored_supervoxels(store)
    assert maps is not None and maps.min_size == 5000
    for scan in store.index.scans:
        stored, found = store.scan(scan), maps.scan(scan)
        wanted = volume_supervoxels(stored.image, stored.spacing_mm, 5000)
        assert np.array_equal(found, wanted) and found.max() > 1
    assert Store.open(store.path).hash == store.hash
    index = json.loads((store.path / "supervoxels" / "index.json").read_text())
    files = {scan: sha256_of(store.path / "supervoxels" / f"{scan}.npy") for scan in store.index.scans}
    assert index["arrays"] == files and index["parameters"]["store"] == store.hash


def test_what_is_there_is_reused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "episodes.pseudo_labels.supervoxels._compute", lambda *_: pytest.fail("computed again")
    )
    stored = stored_supervoxels(store)
    assert stored is not None and ensure_supervoxels(store).hash == stored.hash


def test_any_number_of_threads_gives_the_same_bytes(store: Store, made: Path) -> None:
    shutil.rmtree(store.path / "supervoxels")
    done: list[int] = []
    ensure_supervoxels(store, workers=3, on_progress=done.append)
    assert done == [1, 1]
    for name in ("index.json", "0.npy", "1.npy"):
        wanted = (made / "supervoxels" / name).read_bytes()
        assert (store.path / "supervoxels" / name).read_bytes() == wanted


def test_other_parameters_are_computed_anew(store: Store) -> None:
    before = stored_supervoxels(store)
    store.spec = replace(store.spec, region="heart")
    assert stored_supervoxels(store) is None
    found = ensure_supervoxels(store)
    assert before is not None and found.min_size == 1000 and found.hash != before.hash


def test_two_that_want_the_same_compute_it_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(store.path / "supervoxels")
    calls: list[int] = []
    monkeypatch.setattr(
        "episodes.pseudo_labels.supervoxels.segment_volume",
        lambda v, *_: calls.append(1) or np.zeros(v.shape, int),
    )
    threads = [
        threading.Thread(target=ensure_supervoxels, args=(Store.open(store.path), 1)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 2  # the scans


def test_a_computation_that_failed_counts_for_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = store.path / "supervoxels"
    (folder / "index.json").unlink()

    def fail(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr("episodes.pseudo_labels.supervoxels.segment_volume", fail)
        with pytest.raises(RuntimeError, match="killed"):
            ensure_supervoxels(store)
    assert stored_supervoxels(store) is None
    assert ensure_supervoxels(store).scan("1").any()


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY nonsense", None])
def test_a_damaged_or_missing_map_is_one_line(store: Store, damage: bytes | None) -> None:
    path = store.path / "supervoxels" / "1.npy"
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    maps = ensure_supervoxels(store)
    assert maps.scan("0").any()
    with pytest.raises(
        UserError,
        match=r"1\.npy( is|:) (not as prepared|no such file).*; delete .*supervoxels to have",
    ) as error:
        maps.scan("1")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"parameters": 1', json.dumps(add_seal({}))])
def test_a_damaged_index_is_one_line(store: Store, text: str) -> None:
    (store.path / "supervoxels" / "index.json").write_text(text)
    with pytest.raises(
        UserError, match=r"index\.json(: not JSON| holds a list| has no seal| is damaged).*delete .*super"
    ):
        ensure_supervoxels(store)


def test_an_index_of_other_scans_is_damaged(store: Store) -> None:
    file = store.path / "supervoxels" / "index.json"
    edit_json(file, lambda content: content["arrays"].pop("1"))
    with pytest.raises(UserError, match="is damaged"):
        stored_supervoxels(store)


def test_a_store_that_may_not_be_written_says_so(store: Store) -> None:
    shutil.rmtree(store.path / "supervoxels")
    (store.path / "supervoxels").write_text("a file where the folder belongs")
    with pytest.raises(UserError, match=r"cannot write .*supervoxels.*make it writable"):
        ensure_supervoxels(store)
