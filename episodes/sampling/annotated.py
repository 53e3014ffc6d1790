"""Training episodes from manual labels: training slices as queries, supports from the support scans.

The annotated stage of DenseMP (Fan et al., 2023, arXiv 2307.09604): rules M-DMP-4 and M-DMP-5 of
docs/methods.md. The
samplers read only the mask of one class of the training group; classes that the plan tests stay unseen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from episodes.plan.plan import CellPlan
from episodes.plan.roles import DatasetFacts as PlanFacts
from episodes.plan.roles import integer_sorted, scan_roles
from episodes.plan.rules import PART_RULES
from episodes.plan.supports import support_slices
from episodes.plan.training_split import training_slices
from episodes.sampling.base import EpisodeSource, Picks, ViewOptions, ViewSampler, randint
from episodes.store.index import ClassSliceIndex
from episodes.store.slices import SliceReader
from fewshot.base.errors import UserError
from fewshot.base.seeds import seed_for
from fewshot.base.types import Episode, SliceRef


class DatasetFacts(PlanFacts, Protocol):
    """The facts of a dataset that annotated episodes need: those of a plan, and the testable classes."""

    @property
    def tested(self) -> tuple[str, ...]: ...


class AnnotatedPair(NamedTuple):
    """A training slice that shows a class, and its admissible support slices."""

    query: SliceRef
    supports: tuple[SliceRef, ...]


def annotated_pairs(
    index: ClassSliceIndex, facts: DatasetFacts, plan: CellPlan
) -> dict[str, tuple[AnnotatedPair, ...]]:
    """Return class -> pairs of query and supports, for the classes of the training group.

    The training group consists of the testable classes that the plan does not test. Queries are training
    slices of the plan. The support of a query is the slice of its part in a support scan of the fold, by the
    plan's rules; several support scans give one support each. Setting 2 admits no support slice that the plan
    excludes from training; it takes the nearest admissible slice of the scan that shows the class, the lower
    of two. A class without such a slice is skipped. If no class is left, the first training scan after the
    support scans (circular) that has pairs replaces them. Raises `UserError` if no scan has pairs.
    """
    evaluated = plan.evaluation
    group = tuple(name for name in facts.tested if name not in evaluated.classes)
    if not group:
        raise UserError(
            f"group {evaluated.group} tests every class of dataset {facts.name}, so there is no training "
            "group to take labels from; leave the annotated stage out, or choose a group of fewer classes"
        )
    supports = fold_supports(index, facts, plan)
    others = [scan for scan in _following(index.scans, supports) if scan in plan.training.scans]
    for scans in (supports, *((scan,) for scan in others)):
        all_pairs = {name: _pairs(index, plan, name, scans) for name in group}
        pairs_of_class = {name: pairs for name, pairs in all_pairs.items() if pairs}
        if pairs_of_class:
            return pairs_of_class
    raise UserError(
        f"no annotated episode for group {evaluated.group} in fold {evaluated.fold}, setting "
        f"{plan.training.setting}: none of {', '.join(group)} has a training slice and a support slice "
        "without a tested class; use setting 1, or leave the annotated stage out"
    )


def fold_supports(index: ClassSliceIndex, facts: PlanFacts, plan: CellPlan) -> tuple[str, ...]:
    """Return the support scans of a plan's fold, without validation scans."""
    roles = scan_roles(index.scans, facts, plan.evaluation.rules, plan.evaluation.fold)
    return tuple(
        scan
        for scan in dict.fromkeys(scan for supports in roles.supports for scan in supports)
        if scan in roles.held_out or scan in plan.training.scans
    )


def _following(scans: Sequence[str], after: Sequence[str]) -> tuple[str, ...]:
    """Return `scans` in the order of their ids, circular from the first of `after`, without `after`."""
    ordered = integer_sorted(scans)
    start = ordered.index(after[0]) if after else 0
    return tuple(scan for scan in (*ordered[start:], *ordered[:start]) if scan not in after)


def _pairs(
    index: ClassSliceIndex, plan: CellPlan, name: str, scans: Sequence[str]
) -> tuple[AnnotatedPair, ...]:
    rules = plan.evaluation.rules
    part_of = PART_RULES[rules.part_rule]
    supports: dict[str, list[SliceRef]] = {}
    for scan in scans:
        allowed, _dropped = training_slices(
            index, rules, plan.training.setting, (scan,), plan.evaluation.classes
        )
        usable = [z for z in index.slices_of(name, scan) if SliceRef(scan, z) in allowed]
        if usable:
            refs_of_part = support_slices(index, rules, name, (scan,), plan.evaluation.fold)
            supports[scan] = [SliceRef(scan, _nearest(usable, refs[0].z)) for refs in refs_of_part]
    shown = {scan: index.slices_of(name, scan) for scan in plan.training.scans}
    pairs = []
    for query in plan.training.slices:
        if query.z in shown[query.scan]:
            part = part_of(query.z, shown[query.scan], plan.evaluation.parts)
            admissible = tuple(by_part[part] for scan, by_part in supports.items() if scan != query.scan)
            if admissible:
                pairs.append(AnnotatedPair(query, admissible))
    return tuple(pairs)


def _nearest(slices: Sequence[int], z: int) -> int:
    return min(slices, key=lambda other: (abs(other - z), other))


class AnnotatedEpisodes(ViewSampler):
    """Draws episodes from `pairs` (see `annotated_pairs`); an episode depends only on seed and step.

    The sampler draws the class, then one of its queries, then one of the query's supports, each uniformly.
    Support and query get random views, as in superpixel episodes. `classes`: class -> stored value.
    """

    def __init__(
        self,
        reader: SliceReader,
        pairs: Mapping[str, Sequence[AnnotatedPair]],
        classes: Mapping[str, int],
        **views: Unpack[ViewOptions],
    ) -> None:
        super().__init__(reader, **views)
        self._pairs = dict(pairs)
        self._values = {name: classes[name] for name in pairs}

    def picks(self, step: int) -> Picks:
        """Return support slice, query slice and class of each episode of a step.

        `label` is `annotated:CLASS:support_scan:z:query_scan:z` for each episode, separated by spaces.
        """
        generator = torch.Generator().manual_seed(seed_for("annotated-episode", self._seed, step))
        chosen = [self._choose(generator) for _ in range(self._batch)]
        refs = (*(support for _, support, _ in chosen), *(query for _, _, query in chosen))
        values = tuple(self._values[name] for name, _, _ in chosen)
        labels = (
            f"annotated:{name}:{support.scan}:{support.z}:{query.scan}:{query.z}"
            for name, support, query in chosen
        )
        return Picks(refs, values * 2, " ".join(labels), generator)

    def mask(self, ref: SliceRef, number: int) -> NDArray[np.bool_]:
        """Return the mask (H,W), bool, of the class with the stored value `number`."""
        return self.reader.mask(ref, number)

    def _choose(self, generator: torch.Generator) -> tuple[str, SliceRef, SliceRef]:
        """Draw class, support and query."""
        name = list(self._pairs)[randint(len(self._pairs), generator)]
        pair = self._pairs[name][randint(len(self._pairs[name]), generator)]
        return name, pair.supports[randint(len(pair.supports), generator)], pair.query


class MixedEpisodes:
    """Draws each step's episode from `annotated` with probability `share`, else from `other`."""

    def __init__(self, annotated: EpisodeSource, other: EpisodeSource, share: float, *, seed: int) -> None:
        self._annotated, self._other, self._share, self._seed = annotated, other, share, seed

    def episode(self, step: int) -> Episode:
        """Return the episode of a step."""
        generator = torch.Generator().manual_seed(seed_for("mixed-episode", self._seed, step))
        drawn = float(torch.rand((), generator=generator))
        return (self._annotated if drawn < self._share else self._other).episode(step)
