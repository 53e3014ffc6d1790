"""Memory that runs out: batches are halved with the same result, other errors pass, one slice is the end."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from cell_plans import CPU, plans_of, reader_of
from torch import Tensor, nn

from baselines.ssl_alpnet import SSLALPNet
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.memory import Batches, out_of_memory
from fewshot.base.types import Support
from protocols.cells.evaluate import evaluate

DEVICE_FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee documentation")


def limited(largest: int, error: Exception, seen: list[int]) -> Any:
    """Return a function that doubles items, and raises `error` for more than `largest` of them."""

    def ask(items: Sequence[int]) -> list[int]:
        seen.append(len(items))
        if len(items) > largest:
            raise error
        return [2 * item for item in items]

    return ask


def test_a_batch_is_halved_until_it_fits_and_stays_so(caplog: pytest.LogCaptureFixture) -> None:
    batches, seen = Batches(8), []
    with caplog.at_level(logging.WARNING):
        found = list(batches.over(range(11), limited(3, DEVICE_FULL, seen)))
    assert [one for batch in found for one in batch] == [2 * item for item in range(11)]
    assert seen == [8, 4, 2, 2, 2, 2, 2, 1] and batches.size == 2
    assert caplog.messages == [
        "out of memory for 8 slices at once; continuing with 4",
        "out of memory for 4 slices at once; continuing with 2",
    ]
    list(batches.over(range(3), limited(3, DEVICE_FULL, seen)))
    assert seen[8:] == [2, 1]


def test_a_last_short_batch_is_halved_by_its_own_size() -> None:
    seen: list[int] = []
    assert list(Batches(8).over(range(3), limited(1, DEVICE_FULL, seen))) == [[0], [2], [4]]
    assert seen == [3, 1, 1, 1]


def test_one_item_too_large_is_one_line() -> None:
    with pytest.raises(UserError, match=r"single slice \(CUDA out of .* 2.00 GiB\.\); end") as caught:
        list(Batches(4).over(range(4), limited(0, DEVICE_FULL, [])))
    assert "\n" not in str(caught.value)


def test_what_the_host_really_raises_is_told_and_other_errors_are_not() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert out_of_memory(caught.value) and out_of_memory(MemoryError())
    assert out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not out_of_memory(ValueError("not enough memory"))
    with pytest.raises(RuntimeError, match="shapes"):
        list(Batches(4).over(range(4), limited(0, RuntimeError("shapes differ"), [])))


class Encoder(nn.Module):
    """Two strided means of a slice; more than `largest` slices at once do not fit."""

    out_channels = 2

    def __init__(self, largest: int) -> None:
        super().__init__()
        self.largest = largest

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.largest:
            raise DEVICE_FULL
        pooled = nn.functional.avg_pool2d(images, 4)
        return torch.cat([pooled, 1 - pooled.abs()], dim=1)


class Narrow(SSLALPNet):
    """SSL-ALPNet whose answer to more than `largest` query slices does not fit."""

    largest = 99

    def logits(self, support_features: Any, support_masks: Any, query_features: Any, **context: Any) -> Any:
        if len(query_features) > self.largest:
            raise DEVICE_FULL
        return super().logits(support_features, support_masks, query_features, **context)


class Segmenter:
    """A learner with `segment` alone; more than `largest` queries at once do not fit."""

    def __init__(self, largest: int) -> None:
        self.largest = largest

    def segment(self, support: Support, query: Tensor) -> Tensor:
        if len(query) > self.largest:
            raise DEVICE_FULL
        level = (support.images[:, 0] * support.masks).sum() / support.masks.sum()
        return torch.sigmoid(0.5 - (query[:, 0] - level).abs())


@pytest.mark.parametrize("where", ["encoding", "answering"])
def test_evaluation_goes_on_with_the_same_result(
    store: Store, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    plans = plans_of(store)
    reader = reader_of(store, plans[0])

    def learner(largest: int) -> Any:
        made = Narrow(Encoder(largest if where == "encoding" else 99)).eval()
        made.largest = largest if where == "answering" else 99
        return made

    wanted = evaluate(learner(99), plans, reader, device=CPU, batch=8)
    assert not caplog.records and any(score.tp for one in wanted for score in one.scores)
    with caplog.at_level(logging.WARNING):
        assert evaluate(learner(1), plans, reader, device=CPU, batch=8) == wanted
    assert caplog.messages[-1].endswith("continuing with 1")
    with pytest.raises(UserError, match="out of memory for a single slice"):
        evaluate(learner(0), plans, reader, device=CPU, batch=8)


def test_segment_alone_needs_memory_for_one_query_slice(store: Store) -> None:
    plans = plans_of(store)
    reader = reader_of(store, plans[0])
    wanted = evaluate(Segmenter(99), plans, reader, device=CPU, batch=8)
    assert any(score.tp for one in wanted for score in one.scores)
    assert evaluate(Segmenter(1), plans, reader, device=CPU, batch=8) == wanted
    with pytest.raises(UserError, match="out of memory for a single slice"):
        evaluate(Segmenter(0), plans, reader, device=CPU, batch=8)


class TransductiveSegmenter(Segmenter):
    transductive = True


class TransductiveNarrow(Narrow):
    transductive = True


@pytest.mark.parametrize("kind", [TransductiveSegmenter, TransductiveNarrow])
def test_a_part_of_a_transductive_learner_is_never_split(
    store: Store, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    plan = plans_of(store)[0]
    most = max(len(task.queries) for task in plan.tasks)
    assert most > 1

    def learner(largest: int) -> Any:
        made = kind(largest) if kind is TransductiveSegmenter else kind(Encoder(99)).eval()
        made.largest = largest
        return made

    evaluate(learner(most), [plan], reader_of(store, plan), device=CPU, batch=1)
    with pytest.raises(
        UserError, match=r"^class .*, scan .*, part .*: out of memory for \d+ query"
    ) as caught:
        evaluate(learner(1), [plan], reader_of(store, plan), device=CPU, batch=1)
    assert "\n" not in str(caught.value) and not caplog.records


def test_memory_of_a_failed_try_is_free_at_the_next() -> None:
    """The frames of the error hold what the try had; they must be gone when it is tried again."""
    held: list[weakref.ref[Tensor]] = []

    def ask(items: Sequence[int]) -> int:
        assert all(one() is None for one in held)
        large = torch.zeros(len(items))
        held.append(weakref.ref(large))
        if len(items) > 1:
            raise torch.OutOfMemoryError("full")
        return len(large)

    assert list(Batches(4).over(range(4), ask)) == [1, 1, 1, 1]
