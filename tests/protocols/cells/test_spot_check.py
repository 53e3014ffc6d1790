"""The spot check: what rounding may change, what it may not, and which part it takes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from broken_learners import ComparesPartsTogether, EncodesByTheBatch, NormalisesByTheQueryBatch
from cell_plans import CPU, LEARNERS, LastUndefined, plans_of, reader_of
from small_encoder import SMALL, SmallEncoder
from tiny import tiny_store
from torch import Tensor

from baselines.yardsticks import CopySupport
from episodes.plan.plan import EvaluationPlan
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.types import Support, Task
from fewshot.learners.registry import METHODS, resolve_method, trains
from protocols.cells.predictors import Prediction
from protocols.cells.spot_check import (
    BATCH,
    ROUNDING,
    changed_pixels,
    shifted_pixels,
    spot_check,
    spot_task,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return tiny_store(tmp_path_factory.mktemp("stores") / "tiny")


def prediction(scores: Tensor, largest: float = 20.0) -> Prediction:
    """Return a prediction of one slice with 100 x 100 pixels."""
    return Prediction(scores.reshape(1, 100, 100), torch.tensor([largest]), torch.tensor(True))


def test_a_pixel_may_change_within_rounding_of_the_largest_logit() -> None:
    scores = torch.full((10_000,), 3.0)
    near, far = scores.clone(), scores.clone()
    near[:5], far[:5] = ROUNDING * 20 * 0.4, ROUNDING * 20 * 0.6  # the logits are up to 20
    turned_near, turned_far = near.clone(), far.clone()
    turned_near[:5] *= -1
    turned_far[:5] *= -1
    assert changed_pixels(prediction(near), prediction(turned_near), ROUNDING).tolist() == [0]
    assert changed_pixels(prediction(far), prediction(turned_far), ROUNDING).tolist() == [5]
    assert changed_pixels(prediction(far), prediction(far), ROUNDING).tolist() == [0]


def test_hard_scores_may_change_in_one_pixel_of_ten_thousand() -> None:
    scores = torch.full((10_000,), -0.5)
    one, two = scores.clone(), scores.clone()
    one[0], two[:2] = 0.5, 0.5
    assert changed_pixels(prediction(scores, 1.0), prediction(one, 1.0), ROUNDING).tolist() == [0]
    assert changed_pixels(prediction(scores, 1.0), prediction(two, 1.0), ROUNDING).tolist() == [2]


def test_a_shift_of_many_scores_is_seen_without_a_change_of_the_mask() -> None:
    scores = torch.full((10_000,), 3.0)
    few, many, little = scores.clone(), scores.clone(), scores + ROUNDING * 20 * 5
    few[:100] += ROUNDING * 20 * 11
    many[:101] += ROUNDING * 20 * 11
    assert shifted_pixels(prediction(scores), prediction(few), ROUNDING).tolist() == [0]
    assert shifted_pixels(prediction(scores), prediction(little), ROUNDING).tolist() == [0]
    assert shifted_pixels(prediction(scores), prediction(many), ROUNDING).tolist() == [101]


def test_the_part_is_fixed_by_the_plan_and_has_two_slices(store: Store) -> None:
    plans = [plan for fold in range(5) for plan in plans_of(store, fold)]
    tasks = [spot_task(plan) for plan in plans]
    assert all(task is not None and task in plan.tasks for task, plan in zip(tasks, plans, strict=True))
    assert len({(task.class_name, task.part) for task in tasks if task is not None}) > 2
    assert [spot_task(plan) for plan in plans] == tasks
    single = [dataclasses.replace(task, queries=task.queries[:1], scored=(True,)) for task in plans[0].tasks]
    plan = dataclasses.replace(plans[0], tasks=tuple(single))
    assert spot_task(plan) is None
    assert spot_check(CopySupport(), plan, reader_of(store, plan), device=CPU) is None


@pytest.mark.parametrize("name", LEARNERS)
def test_real_encoders_pass(store: Store, name: str) -> None:
    learner = LEARNERS[name]().eval()
    for plan in plans_of(store):
        task = spot_check(learner, plan, reader_of(store, plan), device=CPU)
        assert task == spot_task(plan)


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        (name, precision)
        for name in sorted(METHODS)
        for precision in ("float32", "bf16")
        if precision == "float32" or trains(resolve_method(name))  # others have no network
    ],
)
def test_registered_methods_pass(store: Store, name: str, precision: str) -> None:
    method = resolve_method(name)
    encoder = [SMALL.get(name, SmallEncoder)(0)] if trains(method) else []
    learner = method(*encoder, method.Options())
    learner = learner.eval() if trains(method) else learner
    for plan in plans_of(store):
        assert spot_check(learner, plan, reader_of(store, plan), device=CPU, precision=precision) is not None


def test_a_transductive_learner_passes(store: Store) -> None:
    plan = plans_of(store)[0]
    learner = ComparesPartsTogether(SmallEncoder(0)).eval()
    assert spot_check(learner, plan, reader_of(store, plan), device=CPU) is not None


def plan_with_one_batch(store: Store) -> tuple[EvaluationPlan, Task]:
    """Return a plan, and its drawn task, whose query slices fit into one batch."""
    for fold in range(5):
        for plan in plans_of(store, fold):
            task = spot_task(plan)
            if task is not None and len(task.queries) <= BATCH:
                return plan, task
    raise AssertionError("no plan of the store has such a task")


@pytest.mark.parametrize("batch", [1, 64])
@pytest.mark.parametrize(
    ("method", "step"),
    [
        (NormalisesByTheQueryBatch, "same features"),
        (EncodesByTheBatch, "encoded again"),
        (LastUndefined, "`defined` differs"),
    ],
)
def test_a_query_batch_that_changes_scores_is_named(store: Store, method: Any, step: str, batch: int) -> None:
    plan, task = plan_with_one_batch(store)
    learner = method(SmallEncoder(0)).eval()
    said = rf"^class {task.class_name}, scan {task.queries[0].scan}, slice \d+: .*{method.__name__}"
    with pytest.raises(UserError, match=said) as caught:
        spot_check(learner, plan, reader_of(store, plan), device=CPU, batch=batch)
    assert step in str(caught.value) and "\n" not in str(caught.value)


def test_an_encoder_that_mixes_slices_is_no_transductive_learner(store: Store) -> None:
    class Mixed(EncodesByTheBatch):
        transductive = True

    plan = plans_of(store)[0]
    with pytest.raises(UserError, match="encoded again"):
        spot_check(Mixed(SmallEncoder(0)).eval(), plan, reader_of(store, plan), device=CPU)


def test_a_learner_that_adapts_keeps_its_gradients(store: Store) -> None:
    class Adapting(CopySupport):
        adapts = True

        def segment(self, support: Support, query: Tensor) -> Tensor:
            assert torch.is_grad_enabled() and not query.is_inference()
            return super().segment(support, query)

    plan = plans_of(store)[0]
    assert spot_check(Adapting(), plan, reader_of(store, plan), device=CPU) is not None
