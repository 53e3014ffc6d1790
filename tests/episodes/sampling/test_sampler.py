"""Superpixel episodes: which slices and superpixels are drawn, and that a step alone decides."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from fake_store import FakeScan, FakeStore, fake_store
from torch import Tensor

from episodes.sampling.superpixel import SuperpixelEpisodes
from episodes.store.slices import SliceReader, normalisation
from fewshot.base.errors import UserError
from fewshot.base.types import SliceRef


def source(store: FakeStore, scans: tuple[str, ...] = ("0", "1"), **options: object) -> SuperpixelEpisodes:
    reader = SliceReader(store, normalisation(store, "per-scan", scans))
    settings: dict[str, object] = {"allowed": None, "seed": 0, "augmentation": "none", **options}
    return SuperpixelEpisodes(reader, store.index, scans, **settings)  # type: ignore[arg-type]


def drawn(episodes: SuperpixelEpisodes, steps: int) -> tuple[Counter[SliceRef], Counter[int]]:
    """Return how often each slice and each superpixel number was drawn."""
    slices, numbers = Counter[SliceRef](), Counter[int]()
    for step in range(steps):
        for item in episodes.episode(step).label.split():
            scan, z, number = item.split(":")
            slices[SliceRef(scan, int(z))] += 1
            numbers[int(number)] += 1
    return slices, numbers


def assert_shares(counts: Counter, shares: dict) -> None:
    """Each count lies within four standard deviations of its share; nothing else was drawn."""
    total = counts.total()
    assert set(counts) <= set(shares)
    for name, share in shares.items():
        assert abs(counts[name] - total * share) < 4 * (total * share * (1 - share)) ** 0.5, name


def test_episode_is_a_slice_and_its_superpixel() -> None:
    store = fake_store()
    episode = source(store).episode(3)
    scan, z, number = episode.label.split(":")
    assert episode.support_images.shape == episode.query_images.shape == (1, 1, 1, 64, 64)
    assert episode.support_masks.shape == episode.query_masks.shape == (1, 1, 64, 64)
    assert episode.support_masks.dtype == torch.bool and episode.support_images.dtype == torch.float32
    reader = SliceReader(store, normalisation(store, "per-scan", ()))
    ref = SliceRef(scan, int(z))
    image = torch.from_numpy(reader.image(ref))
    torch.testing.assert_close(episode.support_images[0, 0, 0], image, rtol=0, atol=1e-3)
    mask = torch.from_numpy(reader.superpixels(ref) == int(number))
    assert torch.equal(episode.support_masks[0, 0], mask) and torch.equal(episode.query_masks[0, 0], mask)


def test_support_and_query_are_independent_views() -> None:
    episode = source(fake_store(), augmentation="published").episode(0)
    assert not torch.equal(episode.support_images, episode.query_images)
    assert not torch.equal(episode.support_masks, episode.query_masks)
    overlap = (episode.support_masks & episode.query_masks).sum() / episode.support_masks.sum()
    assert overlap > 0.5


def test_an_episode_depends_on_its_step_alone() -> None:
    store = fake_store()
    forward, backward = source(store, augmentation="published"), source(store, augmentation="published")
    first = {step: forward.episode(step) for step in range(6)}
    for step in reversed(range(6)):
        again = backward.episode(step)
        assert again.label == first[step].label
        assert torch.equal(again.support_images, first[step].support_images)
        assert torch.equal(again.query_masks, first[step].query_masks)
    assert len({episode.label for episode in first.values()}) > 1
    other = source(store, augmentation="published", seed=1)
    assert any(other.episode(step).label != first[step].label for step in range(6))


def test_slices_and_present_superpixels_are_drawn_uniformly() -> None:
    slices, numbers = drawn(source(fake_store(depth=3, size=16), batch=20), 100)
    assert_shares(slices, {SliceRef(scan, z): 1 / 6 for scan in ("0", "1") for z in range(3)})
    assert_shares(numbers, dict.fromkeys((1, 2, 4, 5), 1 / 4))


def test_a_slice_without_superpixel_stands_for_the_next() -> None:
    # of 0..3 in both scans, 1 and 3 are empty: draws of 3 go on to the next scan's 0, round to the first
    slices, _ = drawn(source(fake_store(depth=4, size=16, empty=(1, 3)), batch=20), 100)
    assert_shares(slices, {SliceRef(scan, z): 1 / 4 for scan in ("0", "1") for z in (0, 2)})
    slices, _ = drawn(source(fake_store(depth=4, size=16, empty=(0, 1, 3)), ("0",), batch=20), 10)
    assert slices == Counter({SliceRef("0", 2): 200})


def test_excluded_slices_are_redrawn_and_never_seen() -> None:
    allowed = frozenset({SliceRef("0", 0), SliceRef("0", 2), SliceRef("1", 1)})
    store = fake_store(depth=4, size=16, empty=(1,))
    # of eight draws two end in 0:2 (1 and 2), one in 0:0; 1:1 has no superpixel and its next is excluded
    slices, _ = drawn(source(store, allowed=allowed, batch=20), 150)
    assert_shares(slices, {SliceRef("0", 0): 1 / 3, SliceRef("0", 2): 2 / 3})


def test_other_scans_are_never_seen() -> None:
    slices, _ = drawn(source(fake_store(size=16), ("0", "2"), batch=20), 50)
    assert {ref.scan for ref in slices} == {"0", "2"}


def test_released_draw_may_be_absent_and_never_takes_the_last() -> None:
    episodes = source(fake_store(size=16), draw="released", batch=20)
    _, numbers = drawn(episodes, 100)
    assert_shares(numbers, dict.fromkeys((1, 2, 3, 4), 1 / 4))
    for step in range(100):
        episode = episodes.episode(step)
        for i, item in enumerate(episode.label.split()):
            assert bool(episode.support_masks[i].any()) == (not item.endswith(":3"))


def test_released_draw_fails_where_only_number_one_exists() -> None:
    scan = FakeScan(
        np.arange(512.0).reshape(2, 16, 16), np.zeros((2, 16, 16)), np.ones((2, 16, 16), np.int32)
    )
    store = FakeStore({"0": scan}, 16)
    with pytest.raises(
        UserError, match=r"slice [01] of scan 0 has no superpixel that draw='released' can take"
    ):
        source(store, ("0",), draw="released").episode(0)
    assert source(store, ("0",), draw="present").episode(0).label.endswith(":1")


def test_a_batch_holds_different_items_and_what_the_learner_prepared() -> None:
    def prepare(masks: Tensor) -> dict[str, Tensor]:
        assert masks.shape == (1, 64, 64) and masks.dtype == torch.bool
        return {"area": masks.sum((1, 2))}

    episode = source(fake_store(), batch=8, augmentation="published", prepare=prepare).episode(0)
    assert episode.support_images.shape == (8, 1, 1, 64, 64) and episode.query_masks.shape == (8, 1, 64, 64)
    assert len(set(episode.label.split())) > 1
    assert episode.prepared["area"].shape == (8, 1)
    assert torch.equal(episode.prepared["area"], episode.support_masks.sum((2, 3)))


def test_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(
        UserError, match="no slice to train on: of 10 slices of 2 training scans 10 have a super"
    ):
        source(fake_store(), allowed=frozenset())
    with pytest.raises(UserError, match="0 have a superpixel and all of these"):
        source(fake_store(empty=(0, 1, 2, 3, 4)))
    with pytest.raises(UserError, match="of 0 slices of 0 training scans"):
        source(fake_store(), ())


def test_wrong_options_are_refused() -> None:
    with pytest.raises(UserError, match="unknown draw 'presnt': did you mean 'present'"):
        source(fake_store(), draw="presnt")
    with pytest.raises(UserError, match="unknown augmentation 'publish'"):
        source(fake_store(), augmentation="publish")
    with pytest.raises(UserError, match="batch is 0"):
        source(fake_store(), batch=0)
