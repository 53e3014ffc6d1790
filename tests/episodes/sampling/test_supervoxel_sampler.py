"""Supervoxel episodes: which slices are paired, by what, how often, and that a step alone decides."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from fake_store import fake_store
from supervoxel_source import SLICES, Maps, source
from torch import Tensor

from episodes.sampling.augment import Augmentation
from episodes.sampling.prefetch import prefetch
from episodes.sampling.supervoxel import SupervoxelEpisodes
from episodes.store.slices import SliceReader, normalisation
from fewshot.base.errors import UserError
from fewshot.base.types import SliceRef

# A slice of 32 x 32 is 1024 pixels. 1 is in slices 0, 1, 2, 4, 2 in 0, 1, 3, 3 in 1 alone, 4 in 4 and 6,
# which do not touch. On slice 1 of scan 0 number 2 has 128 pixels, too few; else each has 256 or more.


def drawn(episodes: SupervoxelEpisodes, steps: int) -> Counter[tuple[str, int, int, int]]:
    """Return how often each (scan, support, query, number) was drawn."""
    counts = Counter[tuple[str, int, int, int]]()
    for step in range(steps):
        for item in episodes.picks(step).label.split():
            scan, slices, number = item.split(":")
            support, query = slices.split(">")
            counts[scan, int(support), int(query), int(number)] += 1
    return counts


def shares(scans: tuple[str, ...], pairs: dict[tuple[int, int, int], float]) -> dict:
    """Return the share of every draw by {(lower, upper, number): chance in a scan}: scan, pair, coin."""
    found = {
        (scan, *ends, number): chance / len(scans) / 2
        for scan in scans
        for (lower, upper, number), chance in pairs.items()
        for ends in ((lower, upper), (upper, lower))
    }
    assert sum(found.values()) == pytest.approx(1)
    return found


def assert_shares(counts: Counter, wanted: dict) -> None:
    """Each count lies within four standard deviations of its share; nothing else was drawn."""
    total = counts.total()
    assert set(counts) == set(wanted)
    for name, share in wanted.items():
        assert abs(counts[name] - total * share) < 4 * (total * share * (1 - share)) ** 0.5, name


# Numbers 1, 2 and 4 show on two or more slices, each drawn with 1/3. "listed": 1 has pairs 0-1, 1-2, 2-4 (1/3
# each), 2 has 0-1 and 1-3, whose lower slice has too few pixels (1/2 is lost), 4 has 4-6.
LISTED = {(0, 1, 1): 2 / 15, (1, 2, 1): 2 / 15, (2, 4, 1): 2 / 15, (0, 1, 2): 1 / 5, (4, 6, 4): 2 / 5}
# "runs": 1 has the run 0-2, 2 the run 0-1, whose larger slice is large enough; 4 has none: another scan is
# drawn.
RUNS = {(0, 1, 1): 1 / 4, (1, 2, 1): 1 / 4, (0, 1, 2): 1 / 2}


@pytest.mark.parametrize(("pairs", "chances"), [("listed", LISTED), ("runs", RUNS)])
def test_pairs_are_drawn_with_the_released_chances(pairs: str, chances: dict) -> None:
    assert_shares(drawn(source(batch=20, pairs=pairs), 300), shares(("0", "1"), chances))


def as_told(maps: dict[str, np.ndarray], pairs: str, draw: np.random.Generator) -> tuple[str, int, int, int]:
    """Draw one pair as docs/methods.md tells it: draw, look, draw again."""
    while True:
        scan = str(draw.choice(list(maps)))
        volume, pair = maps[scan], None
        numbers = [number for number in np.unique(volume) if number > 0]
        while pair is None:
            number = int(draw.choice(numbers))
            slices = np.flatnonzero((volume == number).any(axis=(1, 2)))
            if len(slices) < 2:
                continue
            areas = {int(z): int((volume[z] == number).sum()) for z in slices}
            if pairs == "listed":
                i = draw.integers(len(slices) - 1)
                lower, upper = int(slices[i]), int(slices[i + 1])
                pair = (lower, upper) if areas[lower] >= 200 else None
                continue
            runs = [run for run in np.split(slices, np.flatnonzero(np.diff(slices) > 1) + 1) if len(run) > 1]
            if not runs:
                break
            run = runs[draw.integers(len(runs))]
            i = draw.integers(len(run) - 1)
            lower, upper = int(run[i]), int(run[i + 1])
            pair = (lower, upper) if max(areas[lower], areas[upper]) >= 200 else None
        if pair is not None:
            return (scan, *(pair if draw.random() < 0.5 else pair[::-1]), number)


@pytest.mark.parametrize("pairs", ["listed", "runs"])
def test_they_are_those_of_drawing_and_looking(pairs: str) -> None:
    """Random scans, some runs of which are cut, some of which are small."""
    noise = np.random.Generator(np.random.PCG64(1))
    slices = [noise.integers(0, 7, 8).tolist() for _ in range(9)]
    episodes = source(slices, pairs=pairs, batch=20)
    maps = {scan: Maps(slices, size=32).scan(scan)[:, :32, :32] for scan in ("0", "1")}
    draw = np.random.Generator(np.random.PCG64(2))
    counts = Counter(as_told(maps, pairs, draw) for _ in range(6000))
    chances = np.array([pair.chance for pair in episodes._pairs])
    wanted = {
        (pair.scan, *ends, pair.number): chance / 2
        for pair, chance in zip(episodes._pairs, chances / chances.sum(), strict=True)
        for ends in ((pair.lower, pair.upper), (pair.upper, pair.lower))
    }
    assert len(wanted) > 10
    assert_shares(counts, wanted)
    assert_shares(drawn(episodes, 300), wanted)


def test_a_scan_with_few_pairs_is_drawn_as_often_as_one_with_many() -> None:
    volume = Maps(SLICES, size=32)
    poor = np.zeros_like(volume.maps["1"])
    poor[2:4] = 5
    volume.maps["1"] = poor
    store = fake_store(depth=len(SLICES), size=32)
    reader = SliceReader(store, normalisation(store, "per-scan", ("0", "1")))
    episodes = SupervoxelEpisodes(reader, volume, store.index, ("0", "1"), None, seed=0, batch=20)
    counts = Counter(scan for scan, *_ in drawn(episodes, 100).elements())
    assert abs(counts["1"] - 1000) < 4 * 2000**0.5 / 2


def test_both_slices_must_be_allowed() -> None:
    allowed = frozenset({SliceRef("1", 0), SliceRef("1", 2), SliceRef("1", 4), SliceRef("0", 5)})
    episodes = source(allowed=allowed, batch=20)
    # the list is what is left of it: 0, 2, 4; 2 and 4 show on a single allowed slice
    assert_shares(drawn(episodes, 100), shares(("1",), {(0, 2, 1): 1 / 2, (2, 4, 1): 1 / 2}))
    assert set(episodes.slices) == {SliceRef("1", z) for z in (0, 2, 4)}
    with pytest.raises(UserError, match="no slice to train on"):
        source(allowed=allowed, pairs="runs")


def test_an_episode_is_a_supervoxel_in_two_slices() -> None:
    episode = source().episode(3)
    scan, slices, number = episode.label.split(":")
    refs = [SliceRef(scan, int(z)) for z in slices.split(">")]
    assert episode.support_images.shape == episode.query_images.shape == (1, 1, 1, 32, 32)
    assert episode.support_masks.shape == episode.query_masks.shape == (1, 1, 32, 32)
    store = fake_store(depth=len(SLICES), size=32)
    reader = SliceReader(store, normalisation(store, "per-scan", ()))
    images = (episode.support_images, episode.query_images)
    for ref, image, mask in zip(refs, images, (episode.support_masks, episode.query_masks), strict=True):
        torch.testing.assert_close(image[0, 0, 0], torch.from_numpy(reader.image(ref)), rtol=0, atol=1e-3)
        wanted = Maps(SLICES, size=32).scan(scan)[ref.z, :32, :32] == int(number)
        assert torch.equal(mask[0, 0], torch.from_numpy(wanted)) and wanted.any()


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
    for step, episode in zip(range(2, 7), prefetch(episodes.episode, range(2, 7), 3), strict=True):
        assert torch.equal(episode.query_images, episodes.episode(step).query_images)


def test_one_slice_is_warped_and_one_has_its_gamma_changed() -> None:
    """The coins are fair and independent; what neither falls on stays as it is, byte for byte."""
    halves = [[1, 2]] * 5
    episodes = source(halves, augmentation="published", size=64, batch=10)
    store = fake_store(depth=len(halves), size=64)
    reader = SliceReader(store, normalisation(store, "per-scan", ("0", "1")))
    changed = Counter[tuple[bool, ...]]()
    for step in range(10):
        moved = episodes.episode(step)
        for place, item in enumerate(moved.label.split()):
            scan, slices, number = item.split(":")
            found = []
            for z, images, masks in zip(
                slices.split(">"),
                (moved.support_images, moved.query_images),
                (moved.support_masks, moved.query_masks),
                strict=True,
            ):
                plain = torch.from_numpy(reader.image(SliceRef(scan, int(z))))
                mask = torch.from_numpy(Maps(halves, size=64).scan(scan)[int(z), :64, :64] == int(number))
                warped = not torch.equal(masks[place, 0], mask)
                found += [warped, not torch.equal(images[place, 0, 0], plain)]
            support_warped, support_changed, query_warped, query_changed = found
            assert support_warped != query_warped  # exactly one of them
            assert (support_changed or not support_warped) and (query_changed or not query_warped)
            changed[support_warped, support_changed and query_changed] += 1
    total = changed.total()
    assert total == 100
    # both images differ from what was stored if the coins fall on different sides
    for side in (0, 1):
        count = sum(number for key, number in changed.items() if key[side])
        assert abs(count - total / 2) < 4 * total**0.5 / 2


def test_a_warped_mask_may_be_empty_and_is_used_all_the_same() -> None:
    ranges = Augmentation(0.0, 1000.0, 0.0, (1.0, 1.0), 0.0, (1.0, 1.0))
    episode = source(augmentation=ranges, batch=20).episode(0)
    areas = torch.stack([episode.support_masks.sum((2, 3)), episode.query_masks.sum((2, 3))])[:, :, 0]
    assert bool((areas.min(dim=0).values == 0).any()) and bool((areas.max(dim=0).values >= 128).all())


def test_a_batch_holds_different_items_and_what_the_learner_prepared() -> None:
    def prepare(masks: Tensor) -> dict[str, Tensor]:
        assert masks.shape == (1, 32, 32) and masks.dtype == torch.bool
        return {"area": masks.sum((1, 2))}

    episode = source(batch=8, prepare=prepare).episode(0)
    assert episode.support_images.shape == (8, 1, 1, 32, 32) and episode.query_masks.shape == (8, 1, 32, 32)
    assert len(set(episode.label.split())) > 1
    assert torch.equal(episode.prepared["area"], episode.support_masks.sum((2, 3)))


NOTHING = r"no slice to train on: of 14 slices of 2 training scans {} are allowed and no two of these show"


def test_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(UserError, match=NOTHING.format(0)):
        source(allowed=frozenset())
    with pytest.raises(UserError, match=NOTHING.format(14)):
        source([[1], [2], [0], [3], [4], [0], [5]])
    with pytest.raises(UserError, match=NOTHING.format(14)):
        source([[1, 2]] * 7, size=16)  # 128 pixels each
    with pytest.raises(UserError, match="of 0 slices of 0 training scans"):
        source(scans=())


def test_wrong_options_are_refused() -> None:
    with pytest.raises(UserError, match="unknown augmentation 'publish'"):
        source(augmentation="publish")
    with pytest.raises(UserError, match="batch is 0"):
        source(batch=0)
    with pytest.raises(UserError, match="unknown rule of pairs 'run': did you mean 'runs'"):
        source(pairs="run")
