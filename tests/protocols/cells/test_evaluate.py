"""Evaluation: each slice encoded once, counts equal to a slow and obvious loop, nothing dropped."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from cell_plans import CPU, LEARNERS, Counting, LastUndefined, plans_of, reader_of
from torch import Tensor, nn

from baselines.ssl_alpnet import SSLALPNet
from baselines.yardsticks import AllForeground, CopySupport
from episodes.plan.plan import EvaluationPlan
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.types import Support
from fewshot.encoders.encoder import build_encoder
from fewshot.learners.learner import PrototypeLearner
from protocols.cells.evaluate import evaluate


def test_every_distinct_slice_is_encoded_once_for_all_groups_and_parts(store: Store) -> None:
    plans = plans_of(store)
    encoder = Counting()
    evaluate(SSLALPNet(encoder).eval(), plans, reader_of(store, plans[0]), device=CPU)
    support = {ref for plan in plans for task in plan.tasks for ref in task.support}
    queries = {
        ref
        for plan in plans
        for task in plan.tasks
        for ref, scored in zip(task.queries, task.scored, strict=True)
        if scored
    }
    assert len(encoder.seen) == len(set(encoder.seen)) == len(support | queries)


class Precisions(nn.Module):
    """An encoder that remembers the type of the features it gave."""

    def __init__(self) -> None:
        super().__init__()
        self.given: set[torch.dtype] = set()
        self.inner = build_encoder("resnet18", 3)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.inner(images)
        self.given.add(features.dtype)
        return features


def test_an_encoder_that_answers_in_bf16_answers_nearly_the_same(store: Store) -> None:
    """Features come in bf16, a step of which is 2**-8; scores are compared in float32 all the same."""
    plans = plans_of(store)
    reader = reader_of(store, plans[0])
    learner = SSLALPNet(Precisions()).eval()
    compared: set[torch.dtype] = set()
    whole = learner.logits

    def logits(support: Tensor, masks: Tensor, query: Tensor, **context: Any) -> tuple[Tensor, Tensor]:
        compared.update({support.dtype, query.dtype})
        return whole(support, masks, query, **context)

    learner.logits = logits  # type: ignore[method-assign]
    wanted = evaluate(learner, plans, reader, device=CPU)
    assert learner.encoder.given == {torch.float32}
    found = evaluate(learner, plans, reader, device=CPU, precision="bf16")
    assert learner.encoder.given == {torch.float32, torch.bfloat16} and compared == {torch.float32}
    pairs = [
        (one, other)
        for ours, theirs in zip(found, wanted, strict=True)
        for one, other in zip(ours.scores, theirs.scores, strict=True)
    ]
    assert any(one.tp != other.tp or one.fp != other.fp for one, other in pairs)
    for one, other in pairs:
        assert one.tp + one.fn == other.tp + other.fn
        assert one.dice is not None and other.dice is not None and abs(one.dice - other.dice) < 0.03


def test_an_unknown_precision_is_refused(store: Store) -> None:
    plans = plans_of(store)
    with pytest.raises(UserError, match="unknown precision 'bf32'"):
        evaluate(AllForeground(), plans, reader_of(store, plans[0]), device=CPU, precision="bf32")


@pytest.mark.parametrize("name", LEARNERS)
def test_counts_equal_those_of_segment_asked_slice_by_slice(store: Store, name: str) -> None:
    plans = plans_of(store, fold=1)
    reader = reader_of(store, plans[0])
    learner = LEARNERS[name]().eval()
    for plan, evaluation in zip(plans, evaluate(learner, plans, reader, device=CPU, batch=3), strict=True):
        wanted: dict[tuple[str, str], np.ndarray] = {}
        for task in plan.tasks:
            support = Support(
                reader.images(task.support),
                torch.from_numpy(np.stack([reader.mask(ref, task.class_value) for ref in task.support])),
            )
            for ref, scored in zip(task.queries, task.scored, strict=True):
                if not scored:
                    continue
                with torch.inference_mode():
                    mask = (learner.segment(support, reader.images([ref]))[0] > 0.5).numpy()
                truth = reader.mask(ref, task.class_value)
                counts = np.array([(mask & truth).sum(), (mask & ~truth).sum(), (~mask & truth).sum()])
                key = (task.class_name, ref.scan)
                wanted[key] = wanted.get(key, np.zeros(3, dtype=int)) + counts
        found = {(s.class_name, s.scan): np.array([s.tp, s.fp, s.fn]) for s in evaluation.scores}
        assert found.keys() == wanted.keys() and sum(counts[0] for counts in wanted.values()) > 0
        for key, counts in wanted.items():
            assert np.abs(found[key] - counts).max() <= 2, key  # one or two pixels on the boundary may turn


def test_all_foreground_scores_the_share_of_the_organ(store: Store) -> None:
    plan = plans_of(store)[0]
    (evaluation,) = evaluate(AllForeground(), [plan], reader_of(store, plan), device=CPU)
    assert len(evaluation.scores) == 4
    for score in evaluation.scores:
        labels = store.scan(score.scan).labels[:, :64, :64] == store.spec.classes[score.class_name]
        shown = np.flatnonzero(labels.any(axis=(1, 2)))
        volume = labels[shown[0] : shown[-1] + 1]
        assert (score.tp, score.fn) == (volume.sum(), 0)
        assert score.fp == volume.size - volume.sum()
        assert score.slices == len(volume)


def test_copy_support_of_a_scan_onto_itself_is_perfect(store: Store) -> None:
    plan = plans_of(store)[0]
    tasks = []
    for task in plan.tasks:
        middle = task.queries[task.scored.index(True)]
        tasks.append(dataclasses.replace(task, support=(middle,), queries=(middle,), scored=(True,)))
    itself = dataclasses.replace(plan, tasks=tuple(tasks))
    (evaluation,) = evaluate(CopySupport(), [itself], reader_of(store, plan), device=CPU)
    assert [score.dice for score in evaluation.scores] == [1.0] * len(evaluation.scores)


def test_an_absent_class_is_undefined_with_its_reason_and_in_place(store: Store) -> None:
    plan = plans_of(store)[0]
    gone = plan.query_scans[0]
    name = plan.classes[1]
    tasks = tuple(t for t in plan.tasks if (t.class_name, t.queries[0].scan) != (name, gone))
    without = dataclasses.replace(
        plan, tasks=tasks, undefined=((name, gone, "class absent from the query scan"),)
    )
    (evaluation,) = evaluate(AllForeground(), [without], reader_of(store, plan), device=CPU)
    score = next(s for s in evaluation.scores if (s.class_name, s.scan) == (name, gone))
    assert score.dice is None and score.undefined == "class absent from the query scan"
    assert len(evaluation.scores) == len(plan.classes) * len(plan.query_scans)


class NoBackground(PrototypeLearner):
    """A method that never has an answer of its own."""

    def logits(self, support_features, support_masks, query_features, *, prepared, branch):  # type: ignore[no-untyped-def]
        scores = query_features.new_zeros((len(query_features), 2, *query_features.shape[-2:]))
        return scores, torch.zeros((), dtype=torch.bool)


def test_slices_answered_by_the_fallback_are_counted(store: Store) -> None:
    plan = plans_of(store)[0]
    learner = NoBackground(build_encoder("resnet18", 0)).eval()
    (evaluation,) = evaluate(learner, [plan], reader_of(store, plan), device=CPU)
    assert evaluation.fallback_slices == sum(sum(task.scored) for task in plan.tasks)


def test_one_undefined_batch_makes_its_task_a_fallback(store: Store) -> None:
    plan = plans_of(store)[0]
    task = next(task for task in plan.tasks if sum(task.scored) > 1)
    three = (task.queries * 3)[:3]
    one_task = dataclasses.replace(
        plan, tasks=(dataclasses.replace(task, queries=three, scored=(True,) * 3),)
    )
    learner = LastUndefined(build_encoder("resnet18", 0)).eval()
    for batch, expected in ((2, 3), (3, 0)):  # batches of 2 and 1, or all three at once
        (evaluation,) = evaluate(learner, [one_task], reader_of(store, plan), device=CPU, batch=batch)
        assert evaluation.fallback_slices == expected


def test_kept_masks_cover_every_slice_and_change_no_score(store: Store) -> None:
    plan = plans_of(store)[0]
    learner = SSLALPNet(build_encoder("resnet18", 1)).eval()
    reader = reader_of(store, plan)
    kept: dict[str, list[int]] = {}

    def keep(_plan: EvaluationPlan, task, masks) -> None:  # type: ignore[no-untyped-def]
        assert masks.dtype == bool and masks.shape == (len(task.queries), 64, 64)
        kept.setdefault(f"{task.class_name} {task.queries[0].scan}", []).extend(ref.z for ref in task.queries)

    (with_all,) = evaluate(learner, [plan], reader, device=CPU, batch=1, on_masks=keep)
    (plain,) = evaluate(learner, [plan], reader, device=CPU, batch=1)
    assert with_all.scores == plain.scores
    assert all(sorted(slices) == list(range(8)) for slices in kept.values())
    assert len(kept) == len(plan.classes) * len(plan.query_scans)
