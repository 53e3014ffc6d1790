"""A plan and a learner become scores; every slice is encoded once. No sacred, no files.

Released programs encode support and query again for each query slice and class; here the distinct
slices of all plans that share a model go through the encoder one time each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from episodes.plan import Plan
from episodes.slices import SliceReader
from fewshot.learner import PrototypeLearner, answer
from fewshot.memory import Batches, to_device
from fewshot.precision import checked_precision, running_in
from fewshot.types import ScanScore, SliceRef, Support, Task
from results.scores import count

Features = tuple[Tensor, ...]  # the maps of N slices, each (N,C,h,w); most encoders give one map
Keep = Callable[[Plan, Task, NDArray[np.bool_]], None]  # called with the masks (Q,H,W) of a task's slices
ScoreKey = tuple[str, str, tuple[str, ...]]  # class, query scan, support scans


@dataclass(frozen=True)
class Evaluation:
    """What one plan came to: scores in the plan's order, and the query slices answered by the fallback."""

    scores: tuple[ScanScore, ...]
    fallback_slices: int


def evaluate(
    learner: Any,
    plans: Sequence[Plan],
    reader: SliceReader,
    *,
    device: torch.device,
    batch: int = 8,
    precision: str = "float32",
    keep: Keep | None = None,
    done: Callable[[int], None] = lambda _count: None,
) -> list[Evaluation]:
    """Answer every task of `plans` (all of one fold) with one learner and count pixels.

    A learner with `encode` and `logits` has each distinct slice encoded once, in batches of `batch`;
    one with `segment` alone is asked task by task. With `keep`, unscored slices are answered too and
    handed over; they count nowhere. `precision`: of the encoder, in which its features are kept too. `done`
    is told how many query scans are finished. A learner that adapts at test time says so (`adapts = True`)
    and keeps gradients; others run in inference mode.
    Where memory does not hold a batch, it is halved; `UserError` where it does not hold one slice.
    """
    grading = contextlib.nullcontext() if getattr(learner, "adapts", False) else torch.inference_mode()
    with grading:
        asker = (
            _Encoded(learner, reader, device, batch, precision)
            if isinstance(learner, PrototypeLearner)
            else _Segmenting(learner, reader, device, batch, precision)
        )
        asker.supports(
            tuple(dict.fromkeys(ref for plan in plans for task in plan.tasks for ref in task.support))
        )
        sums: list[dict[ScoreKey, Tensor]] = [{} for _ in plans]
        slices: list[dict[ScoreKey, int]] = [{} for _ in plans]
        fallbacks = [torch.zeros((), dtype=torch.int64, device=device) for _ in plans]
        for scan in dict.fromkeys(scan for plan in plans for scan in plan.query_scans):
            tasks = [
                (number, task)
                for number, plan in enumerate(plans)
                for task in plan.tasks
                if task.queries and task.queries[0].scan == scan
            ]
            wanted = [_wanted(task, keep is not None) for _number, task in tasks]
            asker.scan(tuple(sorted({ref for refs, _scored in wanted for ref in refs})))
            for (number, task), (refs, scored) in zip(tasks, wanted, strict=True):
                if not refs:
                    continue
                masks, defined = asker.masks(task, refs)
                key = _score_key(task)
                truth = np.stack([reader.mask(ref, task.class_value) for ref in refs])
                counts = _counted(masks, to_device(torch.from_numpy(truth), device), scored)
                sums[number][key] = sums[number].get(key, torch.zeros_like(counts)) + counts
                slices[number][key] = slices[number].get(key, 0) + sum(scored)
                fallbacks[number] += (~defined).to(torch.int64) * sum(scored)
                if keep is not None:
                    keep(plans[number], task, masks.cpu().numpy())
            done(1)
    return [
        Evaluation(_scores(plan, sums[n], slices[n]), int(fallbacks[n].item()))
        for n, plan in enumerate(plans)
    ]


def _wanted(task: Task, everything: bool) -> tuple[tuple[SliceRef, ...], tuple[bool, ...]]:
    """Return the slices of a task to answer and which of them are scored."""
    if everything:
        return task.queries, task.scored
    refs = tuple(ref for ref, scored in zip(task.queries, task.scored, strict=True) if scored)
    return refs, (True,) * len(refs)


def _counted(masks: Tensor, truth: Tensor, scored: Sequence[bool]) -> Tensor:
    """Return true positives, false positives and false negatives (3,) of the scored slices, (Q,H,W) bool.

    Slices that do not count are emptied, not picked out: picking would make the host wait for the device.
    """
    if not all(scored):
        counts = to_device(torch.tensor(scored), masks.device)[:, None, None]
        masks, truth = masks & counts, truth & counts
    return torch.stack(count(masks, truth))


def _score_key(task: Task) -> ScoreKey:
    supports = tuple(dict.fromkeys(ref.scan for ref in task.support))
    return task.class_name, task.queries[0].scan, supports


def _scores(plan: Plan, sums: dict[ScoreKey, Tensor], slices: dict[ScoreKey, int]) -> tuple[ScanScore, ...]:
    """Return one score for everything the plan says must exist, in its order."""
    scores = []
    for key in dict.fromkeys(_score_key(task) for task in plan.tasks if task.queries):
        tp, fp, fn = (int(value) for value in sums[key].tolist()) if key in sums else (0, 0, 0)
        reason = None if 2 * tp + fp + fn else "no scored slice shows the class and none was predicted"
        scores.append(ScanScore(*key, slices.get(key, 0), tp, fp, fn, reason))
    for class_name, scan, reason in plan.undefined:
        scores.append(ScanScore(class_name, scan, plan.support_scans, 0, 0, 0, 0, reason))
    order = {name: position for position, name in enumerate(plan.classes)}
    scans = {name: position for position, name in enumerate(plan.query_scans)}
    return tuple(
        sorted(scores, key=lambda score: (order[score.class_name], scans[score.scan], score.supports))
    )


class _Asker:
    """Answers tasks: told all support slices first, then one query scan after the other."""

    def __init__(
        self, learner: Any, reader: SliceReader, device: torch.device, batch: int, precision: str
    ) -> None:
        self.learner, self.reader, self.device, self.batches = learner, reader, device, Batches(batch)
        self.precision = checked_precision(precision)

    def supports(self, refs: Sequence[SliceRef]) -> None:
        """Get ready for these support slices."""

    def scan(self, refs: Sequence[SliceRef]) -> None:
        """Get ready for these slices of one query scan; those of the scan before are forgotten."""

    def masks(self, task: Task, refs: Sequence[SliceRef]) -> tuple[Tensor, Tensor]:
        """Return the predicted masks (Q,H,W) bool of `refs`, and whether the method's own answer exists."""
        raise AssertionError("an asker answers")

    def support_masks(self, task: Task) -> Tensor:
        """Return the task's support masks (S,H,W) bool on the device."""
        masks = np.stack([self.reader.mask(ref, task.class_value) for ref in task.support])
        return to_device(torch.from_numpy(masks), self.device)


class _Segmenting(_Asker):
    """For learners with `segment` alone: images in, probabilities out, nothing shared between tasks."""

    def masks(self, task: Task, refs: Sequence[SliceRef]) -> tuple[Tensor, Tensor]:
        support = Support(to_device(self.reader.images(task.support), self.device), self.support_masks(task))

        def answered(some: Sequence[SliceRef]) -> Tensor:
            images = to_device(self.reader.images(some), self.device)
            with running_in(self.precision, self.device):
                found: Tensor = self.learner.segment(support, images) > 0.5
            return found

        parts = list(self.batches.over(refs, answered))
        return torch.cat(parts), torch.ones((), dtype=torch.bool, device=self.device)


class _Encoded(_Asker):
    """For prototype learners: features of the support slices and of one query scan are kept."""

    learner: PrototypeLearner

    def supports(self, refs: Sequence[SliceRef]) -> None:
        self._support = self._encode(refs)
        self._prepared: dict[tuple[tuple[SliceRef, ...], int], tuple[Tensor, Any]] = {}

    def scan(self, refs: Sequence[SliceRef]) -> None:
        self._query: dict[SliceRef, Features] = {}  # the scan before goes before the next one comes
        new = self._encode([ref for ref in refs if ref not in self._support])
        self._query = {ref: self._support.get(ref) or new[ref] for ref in refs}

    def masks(self, task: Task, refs: Sequence[SliceRef]) -> tuple[Tensor, Tensor]:
        key = (task.support, task.class_value)
        if key not in self._prepared:
            masks = self.support_masks(task)
            prepared = {k: to_device(v, self.device) for k, v in self.learner.prepare(masks.cpu()).items()}
            self._prepared[key] = (masks, prepared)
        support_masks, prepared = self._prepared[key]
        support = _stacked([self._support[ref] for ref in task.support])
        size = (support_masks.shape[-2], support_masks.shape[-1])

        def answered(some: Sequence[SliceRef]) -> tuple[Tensor, Tensor]:
            query = _stacked([self._query[ref] for ref in some])
            difference, defined = answer(self.learner, support, support_masks, query, prepared, size)
            return difference > 0, defined

        parts, flags = zip(*self.batches.over(refs, answered), strict=True)
        return torch.cat(parts), torch.stack(flags).all()

    def _encode(self, refs: Sequence[SliceRef]) -> dict[SliceRef, Features]:
        def encoded(some: Sequence[SliceRef]) -> list[Features]:
            images = to_device(self.reader.images(some), self.device)
            with running_in(self.precision, self.device):
                maps = self.learner.encode(images)
            maps = (maps,) if isinstance(maps, Tensor) else tuple(maps)
            return [tuple(one[position] for one in maps) for position in range(len(some))]

        features = (one for batch in self.batches.over(refs, encoded) for one in batch)
        return dict(zip(refs, features, strict=True))


def _stacked(features: Sequence[Features]) -> Tensor | Features:
    """Return (N,C,h,w) for one map a slice, else a tuple of such maps, as `encode` gave them."""
    maps = tuple(torch.stack(level) for level in zip(*features, strict=True))
    return maps[0] if len(maps) == 1 else maps
