"""Where a recipe's training episodes come from: what a model's spec says of them, and their sampler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from episodes.plan.plan import Plan
from episodes.sampling.base import EpisodeSource, Prepare
from episodes.sampling.superpixel import SuperpixelEpisodes
from episodes.sampling.supervoxel import SupervoxelEpisodes
from episodes.store.slices import SliceReader
from episodes.store.store import Store
from fewshot.base.progress import progress
from fewshot.learners.learner import Recipe


@dataclass(frozen=True)
class PseudoLabels:
    """`description` goes into a model's spec; `episodes` makes the sampler of a training."""

    description: dict[str, Any]
    episodes: Callable[[SliceReader, Plan, Recipe, int, Prepare | None], EpisodeSource]


def superpixels(store: Store) -> PseudoLabels:
    """Return the superpixels that the store holds."""

    def episodes(
        reader: SliceReader, plan: Plan, recipe: Recipe, seed: int, prepare: Prepare | None
    ) -> EpisodeSource:
        return SuperpixelEpisodes(
            reader, store.index, plan.training_scans, frozenset(plan.training_slices), seed=seed,
            draw=recipe.draw, augmentation=recipe.augmentation, batch=recipe.batch, prepare=prepare,
        )  # fmt: skip

    return PseudoLabels({"kind": "superpixels", "min_size": store.spec.superpixel_min_size}, episodes)


def supervoxels(store: Store, pairs: str = "listed") -> PseudoLabels:
    """Return the supervoxels of the store, computed (with a bar) unless they lie beside its arrays.

    `pairs`: the rule by which two slices are drawn, one of `episodes.supervoxel_sampler.PAIRS`.
    """
    from episodes.pseudo_labels.supervoxels import ensure_supervoxels, stored_supervoxels

    found = stored_supervoxels(store)
    if found is None:
        with progress(len(store.index.scans), f"{store.spec.name}: supervoxels", "scan") as bar:
            found = ensure_supervoxels(store, done=bar.update)
    maps = found

    def episodes(
        reader: SliceReader, plan: Plan, recipe: Recipe, seed: int, prepare: Prepare | None
    ) -> EpisodeSource:
        return SupervoxelEpisodes(
            reader, maps, store.index, plan.training_scans, frozenset(plan.training_slices), seed=seed,
            pairs=pairs, augmentation=recipe.augmentation, batch=recipe.batch, prepare=prepare,
        )  # fmt: skip

    description = {"kind": "supervoxels", "min_size": maps.min_size, "hash": maps.hash}
    return PseudoLabels(description, episodes)


# By `Recipe.episode`; the kinds are those of `fewshot.recipe.EPISODES`.
KINDS: dict[str, Callable[[Store], PseudoLabels]] = {
    "superpixel": superpixels,
    "supervoxel": supervoxels,
    "supervoxel-run": partial(supervoxels, pairs="runs"),
}
