"""Pseudo-labels of a training: their description in a model's spec, and their episode sampler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from episodes.plan.training_split import TrainingSplit
from episodes.sampling.base import EpisodeSource, Prepare
from episodes.sampling.superpixel import SuperpixelEpisodes
from episodes.sampling.supervoxel import SupervoxelEpisodes
from episodes.store.slices import SliceReader
from episodes.store.store import Store
from fewshot.base.progress import progress
from fewshot.learners.recipe import Recipe


@dataclass(frozen=True)
class PseudoLabels:
    """`description` goes into a model's spec; `episodes` makes the sampler of a training."""

    description: dict[str, Any]
    episodes: Callable[[SliceReader, TrainingSplit, Recipe, int, Prepare | None], EpisodeSource]


def superpixels(store: Store) -> PseudoLabels:
    """Return the pseudo-labels of the store's superpixels."""

    def episodes(
        reader: SliceReader, split: TrainingSplit, recipe: Recipe, seed: int, prepare: Prepare | None
    ) -> EpisodeSource:
        return SuperpixelEpisodes(
            reader, store.index, split.scans, frozenset(split.slices), seed=seed,
            draw=recipe.draw, augmentation=recipe.augmentation, batch=recipe.batch, prepare=prepare,
        )  # fmt: skip

    about = {"min_size": store.spec.superpixel_min_size, "hash": store.superpixels_hash}
    return PseudoLabels({"kind": "superpixels"} | about, episodes)


def supervoxels(store: Store, pairs: str = "listed") -> PseudoLabels:
    """Return the pseudo-labels of the store's supervoxels; compute the maps (with a progress bar) if missing.

    `pairs`: the rule that draws two slices, one of `episodes.sampling.supervoxel.PAIRS`.
    """
    from episodes.pseudo_labels.supervoxels import ensure_supervoxels, stored_supervoxels

    found = stored_supervoxels(store)
    if found is None:
        with progress(len(store.index.scans), f"{store.spec.name}: supervoxels", "scan") as bar:
            found = ensure_supervoxels(store, on_progress=bar.update)
    maps = found

    def episodes(
        reader: SliceReader, split: TrainingSplit, recipe: Recipe, seed: int, prepare: Prepare | None
    ) -> EpisodeSource:
        return SupervoxelEpisodes(
            reader, maps, store.index, split.scans, frozenset(split.slices), seed=seed,
            pairs=pairs, augmentation=recipe.augmentation, batch=recipe.batch, prepare=prepare,
        )  # fmt: skip

    description = {"kind": "supervoxels", "min_size": maps.min_size, "hash": maps.hash}
    return PseudoLabels(description, episodes)


def known_description(kind: str, store: Store) -> dict[str, Any] | None:
    """Return the description of the pseudo-labels `kind`; None if they are not computed yet."""
    from episodes.pseudo_labels.supervoxels import stored_supervoxels

    if KINDS[kind] is not superpixels and stored_supervoxels(store) is None:
        return None
    return KINDS[kind](store).description


# `Recipe.episode` -> pseudo-labels of a store
KINDS: dict[str, Callable[[Store], PseudoLabels]] = {
    "superpixel": superpixels,
    "supervoxel": supervoxels,
    "supervoxel-run": partial(supervoxels, pairs="runs"),
}
