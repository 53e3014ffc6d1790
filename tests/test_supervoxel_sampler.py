"""Supervoxel episodes: which slices are paired, by what, how often, and that a step alone decides."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from fake_store import fake_store
from torch import Tensor

from episodes.sampling.prefetch import prefetched
from episodes.sampling.supervoxel import SupervoxelEpisodes
from episodes.store.slices import SliceReader, normalisation
from fewshot.base.errors import UserError
from fewshot.base.types import SliceRef


class Maps:
    """Supervoxels given scan by scan: a slice is written as the numbers that fill its columns in turn."""

    def __init__(self, slices: list[list[int]], scans: int = 2, size: int = 16, extra: int = 1) -> None:
        side = size + extra
        columns = [np.resize(np.array(numbers), size).tolist() + [99] * extra for numbers in slices]
        volume = np.repeat(np.array(columns)[:, None], side, axis=1).astype(np.uint16)
        self.maps = {str(number): volume for number in range(scans)}

    def scan(self, scan_id: str) -> np.ndarray:
        return self.maps[scan_id]


# 1 is in all slices but the last, 2 in 0 and 2 alone, which do not touch, 3 in 1 and 2, 4 in 3.
SLICES = [[1, 2], [1, 3], [1, 2, 3], [4, 0]]
COMBINATIONS = {  # slice -> (neighbour, number)
    0: [(1, 1)],
    1: [(0, 1), (2, 1), (2, 3)],
    2: [(1, 1), (1, 3)],
}


def source(
    slices: list[list[int]] = SLICES, scans: tuple[str, ...] = ("0", "1"), size: int = 16, **options: object
) -> SupervoxelEpisodes:
    store = fake_store(depth=len(slices), size=size)
    reader = SliceReader(store, normalisation(store, "per-scan", scans))
    settings: dict[str, object] = {"allowed": None, "seed": 0, "augmentation": "none", **options}
    return SupervoxelEpisodes(reader, Maps(slices, size=size), store.index, scans, **settings)  # type: ignore[arg-type]


def drawn(episodes: SupervoxelEpisodes, steps: int) -> Counter[tuple[str, int, int, int]]:
    """Return how often each (scan, support, query, number) was drawn."""
    counts = Counter[tuple[str, int, int, int]]()
    for step in range(steps):
        for item in episodes.episode(step).label.split():
            scan, slices, number = item.split(":")
            support, query = slices.split(">")
            counts[scan, int(support), int(query), int(number)] += 1
    return counts


def shares(scans: tuple[str, ...], combinations: dict[int, list[tuple[int, int]]]) -> dict:
    """Return the share of every draw: a slice, one of its combinations, a coin."""
    found = Counter[tuple[str, int, int, int]]()
    for scan in scans:
        for z, pairs in combinations.items():
            for other, number in pairs:
                share = 1 / len(scans) / len(combinations) / len(pairs) / 2
                found[scan, z, other, number] += share  # type: ignore[assignment]
                found[scan, other, z, number] += share  # type: ignore[assignment]
    assert sum(found.values()) == pytest.approx(1)
    return found


def assert_shares(counts: Counter, wanted: dict) -> None:
    """Each count lies within four standard deviations of its share; nothing else was drawn."""
    total = counts.total()
    assert set(counts) <= set(wanted)
    for name, share in wanted.items():
        assert abs(counts[name] - total * share) < 4 * (total * share * (1 - share)) ** 0.5, name


def test_an_episode_is_a_supervoxel_in_two_slices() -> None:
    episode = source().episode(3)
    scan, slices, number = episode.label.split(":")
    refs = [SliceRef(scan, int(z)) for z in slices.split(">")]
    assert abs(refs[0].z - refs[1].z) == 1
    assert episode.support_images.shape == episode.query_images.shape == (1, 1, 1, 16, 16)
    assert episode.support_masks.shape == episode.query_masks.shape == (1, 1, 16, 16)
    store = fake_store(depth=4, size=16)
    reader = SliceReader(store, normalisation(store, "per-scan", ()))
    images = (episode.support_images, episode.query_images)
    for ref, image, mask in zip(refs, images, (episode.support_masks, episode.query_masks), strict=True):
        torch.testing.assert_close(image[0, 0, 0], torch.from_numpy(reader.image(ref)), rtol=0, atol=1e-3)
        wanted = Maps(SLICES).scan(scan)[ref.z, :16, :16] == int(number)
        assert torch.equal(mask[0, 0], torch.from_numpy(wanted)) and wanted.any()


def test_what_exists_is_drawn_uniformly_and_nothing_else() -> None:
    assert_shares(drawn(source(batch=20), 150), shares(("0", "1"), COMBINATIONS))


def test_both_slices_must_be_allowed() -> None:
    allowed = frozenset({SliceRef("0", 0), SliceRef("0", 2), SliceRef("1", 1), SliceRef("1", 2)})
    # in scan 0 no two allowed slices touch; in scan 1 it is 1 and 2
    combinations = {1: [(2, 1), (2, 3)], 2: [(1, 1), (1, 3)]}
    assert_shares(drawn(source(allowed=allowed, batch=20), 100), shares(("1",), combinations))


def test_a_supervoxel_beyond_the_cut_is_not_there() -> None:
    assert not any(number == 99 for *_, number in drawn(source(batch=20), 20))


def test_other_scans_are_never_seen() -> None:
    assert {scan for scan, *_ in drawn(source(scans=("1",), batch=20), 20)} == {"1"}


def test_an_episode_depends_on_its_step_alone() -> None:
    forward, backward = (source(augmentation="published", size=64) for _ in range(2))
    first = {step: forward.episode(step) for step in range(6)}
    for step in reversed(range(6)):
        again = backward.episode(step)
        assert again.label == first[step].label
        assert torch.equal(again.support_images, first[step].support_images)
        assert torch.equal(again.query_masks, first[step].query_masks)
    assert len({episode.label for episode in first.values()}) > 1
    other = source(seed=1)
    assert any(other.episode(step).label != first[step].label for step in range(6))


def test_built_ahead_they_are_the_same() -> None:
    episodes = source(augmentation="published", size=64)
    for step, episode in zip(range(2, 7), prefetched(episodes.episode, range(2, 7), 3), strict=True):
        assert torch.equal(episode.query_images, episodes.episode(step).query_images)


def test_both_slices_are_transformed() -> None:
    plain, moved = source(size=64).episode(0), source(size=64, augmentation="published").episode(0)
    assert plain.label == moved.label
    assert not torch.equal(plain.support_masks, moved.support_masks)
    assert not torch.equal(plain.query_masks, moved.query_masks)


def test_a_batch_holds_different_items_and_what_the_learner_prepared() -> None:
    def prepare(masks: Tensor) -> dict[str, Tensor]:
        assert masks.shape == (1, 16, 16) and masks.dtype == torch.bool
        return {"area": masks.sum((1, 2))}

    episode = source(batch=8, prepare=prepare).episode(0)
    assert episode.support_images.shape == (8, 1, 1, 16, 16) and episode.query_masks.shape == (8, 1, 16, 16)
    assert len(set(episode.label.split())) > 1
    assert torch.equal(episode.prepared["area"], episode.support_masks.sum((2, 3)))


NOTHING = r"no slice to train on: of 8 slices of 2 training scans {} are allowed and none of these shares"


def test_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(UserError, match=NOTHING.format(0)):
        source(allowed=frozenset())
    with pytest.raises(UserError, match=NOTHING.format(2)):
        source(allowed=frozenset({SliceRef("0", 0), SliceRef("0", 2)}))
    with pytest.raises(UserError, match=NOTHING.format(8)):
        source([[1], [2], [1], [0]])
    with pytest.raises(UserError, match="of 0 slices of 0 training scans"):
        source(scans=())


def test_wrong_options_are_refused() -> None:
    with pytest.raises(UserError, match="unknown augmentation 'publish'"):
        source(augmentation="publish")
    with pytest.raises(UserError, match="batch is 0"):
        source(batch=0)
