"""Evaluation: one learner and the plans of one fold give scores. It writes no files.

Released programs encode support and query again for each query slice and class. Here the encoder gets each
distinct slice of all plans that share a model once. A learner that has `segment`
alone gets one query slice per call. A transductive learner gets all query slices of a part in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from episodes.plan.plan import EvaluationPlan
from episodes.store.slices import SliceReader
from fewshot.base.errors import UserError
from fewshot.base.memory import to_device
from fewshot.base.types import ScanScore, SliceRef, Task
from protocols.cells.landmarks import LandmarkCounter
from protocols.cells.predictors import gradient_mode, predictor_for
from results.metrics.counts import count

MaskCallback = Callable[
    [EvaluationPlan, Task, NDArray[np.bool_]], None
]  # gets the masks (Q,H,W) of a task's slices
ScoreKey = tuple[str, str, tuple[str, ...]]  # class, query scan, support scans


@dataclass(frozen=True)
class Evaluation:
    """The result of one plan: scores in the plan's order, and how many query slices used the fallback."""

    scores: tuple[ScanScore, ...]
    fallback_slices: int


@dataclass(frozen=True)
class _SliceFaults:
    """NaN and infinite scores of a task's slices: `counts` (Q,) int64 on the device."""

    plan: EvaluationPlan
    task: Task
    refs: tuple[SliceRef, ...]
    counts: Tensor


def evaluate(
    learner: Any,
    plans: Sequence[EvaluationPlan],
    reader: SliceReader,
    *,
    device: torch.device,
    batch: int = 8,
    precision: str = "float32",
    on_masks: MaskCallback | None = None,
    landmarks: LandmarkCounter | None = None,
    on_progress: Callable[[int], None] = lambda _count: None,
) -> list[Evaluation]:
    """Predict every task of `plans` with one learner and count pixels.

    Args:
        learner: in evaluation mode, on `device`. With `adapts = True` it keeps gradients, else it runs in
            inference mode.
        plans: all of one fold.
        reader: of the store that holds the slices.
        device: where the learner is and pixels are counted.
        batch: most slices in one call of the encoder or of `logits`. It changes no score and is halved
            when memory runs out.
        precision: of the encoder and of its features, "float32" or "bf16".
        on_masks: receives the masks of every query slice, also of unscored slices, which no score counts.
        landmarks: collects the points of every task, on a store that has points.
        on_progress: receives 1 after each query scan.

    Returns:
        One evaluation per plan, in order.

    Raises:
        UserError: a weight or a score is NaN or infinite; or memory is too small for one slice, or, for a
            transductive learner, for all query slices of a part.
    """
    with gradient_mode(learner):
        predictor = predictor_for(learner, reader, device, batch, precision)
        predictor.load_supports(
            tuple(dict.fromkeys(ref for plan in plans for task in plan.tasks for ref in task.support))
        )
        whole_parts = predictor.mode == "together" or on_masks is not None
        sums: list[dict[ScoreKey, Tensor]] = [{} for _ in plans]
        slices: list[dict[ScoreKey, int]] = [{} for _ in plans]
        fallbacks = [torch.zeros((), dtype=torch.int64, device=device) for _ in plans]
        for scan in dict.fromkeys(scan for plan in plans for scan in plan.query_scans):
            tasks = [
                (number, task, *_query_slices(task, whole_parts))
                for number, plan in enumerate(plans)
                for task in plan.tasks
                if task.queries
                and task.queries[0].scan == scan
                and (any(task.scored) or on_masks is not None)
            ]
            predictor.load_scan(tuple(sorted({ref for _, _, refs, _ in tasks for ref in refs})))
            faults = []
            for number, task, refs, scored in tasks:
                prediction = predictor.predict(task, refs)
                faults.append(_SliceFaults(plans[number], task, refs, prediction.nonfinite))
                masks, key = prediction.masks, _score_key(task)
                truth = np.stack([reader.mask(ref, task.class_value) for ref in refs])
                counts = _count_pixels(masks, to_device(torch.from_numpy(truth), device), scored)
                sums[number][key] = sums[number].get(key, torch.zeros_like(counts)) + counts
                slices[number][key] = slices[number].get(key, 0) + sum(scored)
                fallbacks[number] += (~prediction.defined).to(torch.int64) * sum(scored)
                if landmarks is not None:
                    landmarks.add(plans[number], task, refs, scored, predictor.locate(refs, prediction))
                if on_masks is not None:
                    on_masks(plans[number], task, masks.cpu().numpy())
            _check_scores(faults)
            on_progress(1)
    return [
        Evaluation(_scores(plan, sums[n], slices[n]), int(fallbacks[n].item()))
        for n, plan in enumerate(plans)
    ]


def _query_slices(task: Task, whole_part: bool) -> tuple[tuple[SliceRef, ...], tuple[bool, ...]]:
    """Return the slices of a task to predict (all or only the scored ones), and a scored flag for each."""
    if whole_part:
        return task.queries, task.scored
    refs = tuple(ref for ref, scored in zip(task.queries, task.scored, strict=True) if scored)
    return refs, (True,) * len(refs)


def _check_scores(faults: Sequence[_SliceFaults]) -> None:
    """Raise `UserError` for the first slice with a score that is not finite; the host waits once."""
    if not faults:
        return
    counts = torch.cat([one.counts for one in faults]).tolist()
    slices = [(one.plan, one.task, ref) for one in faults for ref in one.refs]
    for (plan, task, ref), number in zip(slices, counts, strict=True):
        if number:
            raise UserError(
                f"class {task.class_name}, scan {ref.scan}, slice {ref.z}: {number} scores are NaN or "
                f"infinite (fold {plan.fold}, group {plan.group}), expected finite scores; nothing was "
                "recorded: find the fault with fewshot check-method, or train again"
            )


def _count_pixels(masks: Tensor, truth: Tensor, scored: Sequence[bool]) -> Tensor:
    """Return true positives, false positives and false negatives, (3,) int64, of the scored slices.

    `masks` and `truth` are (Q,H,W) bool. Unscored slices are emptied, because indexing would make the host
    wait for the device.
    """
    if not all(scored):
        counts = to_device(torch.tensor(scored), masks.device)[:, None, None]
        masks, truth = masks & counts, truth & counts
    return torch.stack(count(masks, truth))


def _score_key(task: Task) -> ScoreKey:
    supports = tuple(dict.fromkeys(ref.scan for ref in task.support))
    return task.class_name, task.queries[0].scan, supports


def _scores(
    plan: EvaluationPlan, sums: dict[ScoreKey, Tensor], slices: dict[ScoreKey, int]
) -> tuple[ScanScore, ...]:
    """Return one score per (class, query scan, support scans) of the plan, in the plan's order."""
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
