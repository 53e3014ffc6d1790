"""Episodes drawn on a device: the sampler's own episodes, from slices that the device holds."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch
from fake_store import fake_store
from supervoxel_source import source as supervoxel_source

from episodes.sampling import augment
from episodes.sampling import device_sampler as resident
from episodes.sampling.base import MappedSampler
from episodes.sampling.device_sampler import TOGETHER, ResidentEpisodes, episodes_of
from episodes.sampling.superpixel import SuperpixelEpisodes
from episodes.store.slices import SliceReader, normalisation
from fewshot.base.types import Episode

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


def superpixels(batch: int = 1, draw: str = "present", **options: object) -> SuperpixelEpisodes:
    store = fake_store()
    reader = SliceReader(store, normalisation(store, "per-scan", ("0", "1")))
    settings: dict[str, object] = {"allowed": None, "seed": 3, "batch": batch, "draw": draw, **options}
    return SuperpixelEpisodes(reader, store.index, ("0", "1"), **settings)  # type: ignore[arg-type]


def supervoxels(batch: int = 1) -> MappedSampler:
    return supervoxel_source(augmentation="published", batch=batch)


def assert_same(one: Episode, other: Episode) -> None:
    assert one.label == other.label
    for name in ("support_images", "support_masks", "query_images", "query_masks"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize(
    "made",
    [
        superpixels,
        lambda: superpixels(batch=3),
        lambda: superpixels(draw="released"),
        supervoxels,
        lambda: supervoxels(batch=3),
    ],
    ids=["superpixels", "a batch", "released draw", "supervoxels", "a batch of supervoxels"],
)
def test_they_are_the_samplers_episodes(made: Callable[[], MappedSampler]) -> None:
    """Over more steps than are drawn together, from another step than the first, byte for byte."""
    steps = range(5, 5 + 2 * TOGETHER + 3)
    found = list(ResidentEpisodes(made(), CPU).episodes(steps))
    wanted = [made().episode(step) for step in steps]
    assert len(found) == len(steps) and len({one.label for one in found}) > 1
    for one, other in zip(found, wanted, strict=True):
        assert_same(one, other)


def test_only_the_slices_of_the_training_are_held() -> None:
    sampler = superpixels()
    held = ResidentEpisodes(sampler, CPU)
    assert len(held._images) == len(held._maps) == len(sampler.slices)
    assert {ref for step in range(200) for ref in sampler.picks(step).refs} == set(sampler.slices)


def test_the_host_reads_no_image_once_they_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    held = ResidentEpisodes(superpixels(), CPU)

    def forbidden(*_args: object) -> None:
        raise AssertionError("read on the host")

    monkeypatch.setattr(SliceReader, "images", forbidden)
    assert len(list(held.episodes(range(3)))) == 3
    with pytest.raises(AssertionError, match="read on the host"):
        superpixels().episode(0)


def test_what_prepares_on_the_host_is_built_there() -> None:
    sampler = superpixels(prepare=lambda masks: {"area": masks.sum()})
    with pytest.raises(ValueError, match="prepares on the host"):
        ResidentEpisodes(sampler, CPU)
    (episode,) = episodes_of(sampler, CUDA)(range(1))
    assert episode.prepared["area"].shape == (1,)


def test_a_gpu_without_the_memory_has_them_built_on_the_host(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sampler = superpixels()
    wanted = len(sampler.slices) * 64 * 64 * 8
    made: list[str] = []

    class Noted(ResidentEpisodes):
        def __init__(self, sampler: MappedSampler, device: torch.device) -> None:
            made.append(device.type)
            super().__init__(sampler, CPU)

    monkeypatch.setattr(resident, "ResidentEpisodes", Noted)
    monkeypatch.setattr(resident, "free_memory", lambda device: 2 * wanted)
    assert_same(next(iter(episodes_of(sampler, CUDA)(range(1)))), sampler.episode(0))
    assert made == ["cuda"]
    monkeypatch.setattr(resident, "free_memory", lambda device: 2 * wanted - 1)
    with caplog.at_level(logging.INFO, "fewshot"):
        assert_same(next(iter(episodes_of(sampler, CUDA)(range(1)))), sampler.episode(0))
    assert made == ["cuda"] and "built on the host" in caplog.text


def test_nothing_is_mixed_with_the_host_or_asked_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device one tensor of the host among its own raises, and so does a number that is read."""
    monkeypatch.setattr(augment, "_noise", lambda shape, device, _seed: torch.empty(shape, device=device))
    for sampler in (superpixels(batch=2), supervoxels(batch=2)):
        held = ResidentEpisodes(sampler, torch.device("meta"))
        episodes = list(held.episodes(range(TOGETHER + 1)))
        assert len(episodes) == TOGETHER + 1
        side = sampler.reader.image_size
        for one in episodes:
            assert one.support_images.device.type == one.query_masks.device.type == "meta"
            assert one.query_images.shape == (2, 1, 1, side, side) and one.support_masks.dtype == torch.bool
