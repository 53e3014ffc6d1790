"""Spot check: one part of a fold, its query slices alone and in a batch, must give equal masks.

A learner that uses statistics of its query batch gives scores that depend on `--batch`. Rounding depends on
the batch size too, because other batch sizes choose other kernels. The tolerated rounding is a share of the
largest absolute logit of the slice (of 1 for probabilities): `ROUNDING`, or `DEVICE_ROUNDING` if convolutions
run again on a GPU (TF32) or in bf16. Two rules follow:

- A pixel may change its mask only if its two scores differ by at most rounding, so both are near zero.
- Scores may change without a change of the mask. But at most a `SHIFTED` share of a slice's pixels may change
  by more than ten times rounding, because batch statistics would move all scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from episodes.plan.plan import EvaluationPlan
from episodes.store.slices import SliceReader
from fewshot.base.errors import UserError
from fewshot.base.memory import Batches
from fewshot.base.seeds import seed_for
from fewshot.base.types import SliceRef, Task
from fewshot.learners.learner import PrototypeLearner
from protocols.cells.predictors import Prediction, gradient_mode, join_predictions, predictor_for

CHECK = "query slices alone and in a batch: equal masks"
ROUNDING = 1e-4  # of the largest logit
DEVICE_ROUNDING = 1e-2  # of the largest logit
SHIFTED = 1e-2  # share of a slice's pixels
HARD_PIXELS = 1e-4  # share of a slice's pixels that may differ if all scores have one absolute value
SCORED, ENCODED = "same features", "encoded again"
BATCH = 4  # fewest slices in a batch that is compared


def spot_check(
    learner: Any,
    plan: EvaluationPlan,
    reader: SliceReader,
    *,
    device: torch.device,
    batch: int = BATCH,
    precision: str = "float32",
) -> Task | None:
    """Compare the masks of one part's query slices, each alone, with those from batches.

    The check compares the scores of a learner that is not transductive. For every prototype learner it also
    encodes the slices alone and in batches. The plan alone decides which part is compared.

    Args:
        learner: in evaluation mode, on `device`.
        plan: of the fold. The check draws one of its tasks.
        reader: of the store that holds the slices.
        device: where the learner is.
        batch: most slices in a batch, at least `BATCH`; halved when memory runs out.
        precision: of the encoder.

    Returns:
        The task that was compared; None if no task of the plan has two query slices.

    Raises:
        UserError: masks or scores differ by more than rounding; names class, scan and slice.
    """
    task = spot_task(plan)
    if task is None:
        return None
    refs, size = task.queries, max(batch, BATCH)
    with gradient_mode(learner):
        predictor = predictor_for(learner, reader, device, size, precision)
        exact = device.type == "cpu" and precision == "float32"
        encoder_rounding = ROUNDING if exact else DEVICE_ROUNDING
        has_logits = isinstance(learner, PrototypeLearner)
        predictor.load_supports(task.support)
        predictor.load_scan(refs)
        call = partial(predictor.predict_in_one_call, task)
        if predictor.mode == "together":
            batched = predictor.predict(task, refs)
        else:
            batched = join_predictions(list(Batches(size).over(refs, call)))
            single = [call((ref,)) for ref in refs]
            _compare(learner, task, batched, single, ROUNDING if has_logits else encoder_rounding, SCORED)
        if has_logits:
            alone = predictor_for(learner, reader, device, 1, precision)
            alone.load_supports(task.support)
            alone.load_scan(refs)
            _compare(learner, task, batched, [alone.predict(task, refs)], encoder_rounding, ENCODED)
    return task


def spot_task(plan: EvaluationPlan) -> Task | None:
    """Return the task to compare: drawn, by the plan's hash, among tasks with two query slices or more."""
    tasks = [task for task in plan.tasks if len(task.queries) > 1]
    return tasks[seed_for("spot check", plan.hash) % len(tasks)] if tasks else None


def _compare(
    learner: Any, task: Task, batched: Prediction, single: Sequence[Prediction], rounding: float, step: str
) -> None:
    """Raise `UserError` for the first slice whose masks, or whose `defined`, differ by more than rounding."""
    alone = join_predictions(single)
    changed = changed_pixels(batched, alone, rounding).tolist()
    shifted = shifted_pixels(batched, alone, rounding).tolist()
    for ref, masks, scores in zip(task.queries, changed, shifted, strict=True):
        if masks:
            raise _error(learner, task, ref, step, f"{masks} pixels of its mask differ")
        if scores:
            raise _error(learner, task, ref, step, f"the scores of {scores} pixels differ")
    for ref, one in zip(task.queries, single, strict=False):
        if bool(one.defined) != bool(batched.defined):
            raise _error(learner, task, ref, step, "`defined` differs")


def _error(learner: Any, task: Task, ref: SliceRef, step: str, difference: str) -> UserError:
    remedy = {
        SCORED: "let no query slice change the scores of another (fewshot check-method shows where it does), "
        "or declare transductive = True",
        ENCODED: "let encode treat each slice by itself: no layer may use the statistics of its batch",
    }[step]
    return UserError(
        f"class {task.class_name}, scan {ref.scan}, slice {ref.z}: {difference} between "
        f"{type(learner).__name__} given the slice alone and in a batch ({step}), expected no difference; "
        f"{remedy}"
    )


def changed_pixels(first: Prediction, second: Prediction, rounding: float) -> Tensor:
    """Return how many pixels of each slice change their mask by more than rounding: (Q,) int64.

    If the learner gives hard scores (one absolute value in the whole slice, such as probabilities of 0 and
    1), the scores do not show how near they were to zero; then up to `HARD_PIXELS` of the slice's pixels may
    change.
    """
    counts = ((first.masks != second.masks) & _apart(first, second, rounding)).flatten(1).sum(dim=1)
    hard = _is_hard(first.scores) & _is_hard(second.scores)
    few = counts <= HARD_PIXELS * first.scores[0].numel()
    return torch.where(hard & few, 0, counts)


def shifted_pixels(first: Prediction, second: Prediction, rounding: float) -> Tensor:
    """Return how many pixels of each slice change their score by ten times rounding: (Q,) int64.

    The count is 0 if it is at most a `SHIFTED` share of the slice.
    """
    counts = _apart(first, second, 10 * rounding).flatten(1).sum(dim=1)
    return torch.where(counts > SHIFTED * first.scores[0].numel(), counts, 0)


def _apart(first: Prediction, second: Prediction, rounding: float) -> Tensor:
    """Return where scores differ by more than `rounding` times the slice's largest logit: (Q,H,W) bool."""
    largest = torch.maximum(first.largest, second.largest)[:, None, None]
    return (first.scores - second.scores).abs() > rounding * largest


def _is_hard(scores: Tensor) -> Tensor:
    """Return whether all scores of a slice (Q,H,W) have one absolute value: (Q,) bool."""
    sizes = scores.abs().flatten(1)
    return sizes.amax(dim=1) == sizes.amin(dim=1)
