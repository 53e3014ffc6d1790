"""Normalisation over uncut volumes and reading of slices."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_store import FakeScan, FakeStore, fake_store

from episodes.io.nifti import read_nifti
from episodes.store.slices import SliceReader, normalisation, pooled
from fewshot.base.errors import UserError
from fewshot.base.types import SliceRef


def test_pooling_by_hand() -> None:
    # {1, 3} has mean 2, m2 2; {5, 7, 9} has mean 7, m2 8; together mean 5, m2 16 + 4 + 0 + 4 + 16 = 40
    assert pooled([(2, 2.0, 2.0), (0, 99.0, 0.0), (3, 7.0, 8.0)]) == (
        5,
        pytest.approx(5.0),
        pytest.approx(40.0),
    )


def test_training_scans_pool_to_the_concatenation() -> None:
    noise = np.random.Generator(np.random.PCG64(7))
    scans = {}
    for number, (depth, centre) in enumerate([(3, 0.0), (9, 1e4), (5, -300.0)]):
        image = (noise.standard_normal((depth, 20, 20)) * (number + 1) + centre).astype(np.float32)
        scans[str(number)] = FakeScan(image, np.zeros(image.shape, np.uint8), np.ones(image.shape, np.int32))
    store = FakeStore(scans, 16)
    everything = np.concatenate([scans[name].image.ravel() for name in ("0", "1", "2")]).astype(np.float64)
    mean, std = normalisation(store, "training-scans", ("0", "1", "2")).mean_std["0"]
    assert mean == pytest.approx(everything.mean(), rel=1e-12)
    assert std == pytest.approx(everything.std(), rel=1e-12)


def test_training_scans_normalise_every_scan_alike_and_leave_the_others_out() -> None:
    store = fake_store()
    both = normalisation(store, "training-scans", ("0", "1"))
    assert set(both.mean_std) == {"0", "1", "2"}
    assert len(set(both.mean_std.values())) == 1
    assert both.mean_std["2"] != normalisation(store, "training-scans", ("0", "1", "2")).mean_std["2"]


def test_per_scan_uses_the_whole_uncut_volume() -> None:
    store = fake_store(extra=9)
    for name, (mean, std) in normalisation(store, "per-scan", ("0",)).mean_std.items():
        volume = store.scan(name).image.astype(np.float64)
        assert mean == pytest.approx(volume.mean(), rel=1e-12)
        assert std == pytest.approx(volume.std(), rel=1e-12)
        assert std != pytest.approx(volume[:, :64, :64].std(), rel=1e-6)


def test_reader_normalises_then_cuts() -> None:
    store = fake_store(extra=2)
    rule = normalisation(store, "per-scan", ())
    reader = SliceReader(store, rule)
    mean, std = rule.mean_std["1"]
    image = reader.image(SliceRef("1", 3))
    assert image.dtype == np.float32 and image.shape == (64, 64)
    expected = (store.scan("1").image[3, :64, :64].astype(np.float64) - mean) / std
    np.testing.assert_array_equal(image, expected.astype(np.float32))
    stack = reader.images([SliceRef("0", 0), SliceRef("1", 3)])
    assert stack.shape == (2, 1, 64, 64) and stack.dtype == torch.float32
    np.testing.assert_array_equal(stack[1, 0].numpy(), image)


def test_reader_masks_labels_superpixels() -> None:
    store = fake_store()
    reader = SliceReader(store, normalisation(store, "per-scan", ()))
    ref = SliceRef("0", 2)
    labels = reader.labels(ref)
    assert labels.dtype == np.uint8 and labels.shape == (64, 64)
    mask = reader.mask(ref, 1)
    assert mask.dtype == np.bool_ and mask.any() and not mask.all()
    np.testing.assert_array_equal(mask, labels == 1)
    assert not reader.mask(ref, 2).any()
    superpixels = reader.superpixels(ref)
    assert superpixels.dtype == np.int32 and set(np.unique(superpixels)) == {1, 2, 4, 5}


def test_wrong_rule_is_answered_with_the_near_name() -> None:
    with pytest.raises(UserError, match=r"unknown normalisation 'per-scans': did you mean 'per-scan'"):
        normalisation(fake_store(), "per-scans", ())


def test_nothing_to_normalise_by() -> None:
    store = fake_store()
    with pytest.raises(UserError, match="found no training scan"):
        normalisation(store, "training-scans", ())
    flat = FakeScan(
        np.full((2, 64, 64), 7, np.int16), np.zeros((2, 64, 64), np.uint8), np.zeros((2, 64, 64), int)
    )
    with pytest.raises(UserError, match="scan flat has one intensity everywhere"):
        normalisation(FakeStore({"flat": flat}, 64), "per-scan", ())


def test_slices_smaller_than_the_input_are_refused() -> None:
    store = fake_store(size=64)
    store.spec.image_size = 80
    reader = SliceReader(store, dataclasses.replace(normalisation(store, "per-scan", ())))
    with pytest.raises(UserError, match="scan 0 has slices of 65 x 65 pixels, expected at least 80 x 80"):
        reader.image(SliceRef("0", 0))


def test_training_scans_equal_the_released_ct_statistics(shared: Path) -> None:
    folder = shared / "conformance" / "sabs_like"
    published = json.loads((folder / "protocol.json").read_text())
    scans = {}
    for path in folder.glob("image_*.nii.gz"):
        image = read_nifti(path).array
        scans[path.name[len("image_") : -len(".nii.gz")]] = FakeScan(image, image, image)
    store = FakeStore(scans, 256)
    assert len(published["folds"]) == 5
    for fold in published["folds"]:
        mean, std = normalisation(store, "training-scans", fold["train_scans"]).mean_std["0"]
        assert [mean / std, 1 / std] == pytest.approx(fold["ct_mean_std"], rel=1e-12)
