"""The learner under check: how it is built and asked, so that each check finds one fault and not another's.

Every question gets a learner as new and tensors as new, under a global random state of its own: what a
learner keeps, changes or draws in one check then can't reach another.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fewshot.base.seeds import seed_for
from fewshot.contract.synthetic_inputs import Question
from fewshot.learners.learner import PrototypeLearner, call_logits
from fewshot.learners.query_mode import query_mode
from fewshot.learners.registry import trains

Encoder = Callable[[int], nn.Module]  # a seed -> (N,1,H,W) -> features, one map or several


class ContractError(Exception):
    """What a check found wrong: what was given, what came back, what is allowed."""


class NotApplicableError(Exception):
    """Why a check has nothing to say of this learner."""


class Subject:
    """A learner class with an encoder, built on the CPU with its default options."""

    def __init__(self, method: type[Any], encoder: Encoder) -> None:
        self.method, self._encoder = method, encoder
        self.trains = trains(method)
        self.adapts = bool(getattr(method, "adapts", False))
        self.query_mode = query_mode(method)
        self.order_matters = bool(getattr(method, "support_order_matters", False))
        self._encoders: dict[int, nn.Module] = {}
        self.trained: nn.Module | None = None  # set by the first check that trains

    def build(self, seed: int = 0, *, draws: int = 0) -> Any:
        """Return a new learner in evaluation mode; `draws` seeds the global random state meanwhile.

        torch's own generator is seeded by `seed`, as the harness does: a layer may draw its first weights.
        """
        if seed not in self._encoders and self.trains:
            self._encoders[seed] = self._encoder(seed)
        with random_state(draws):
            torch.manual_seed(seed_for("learner", seed))
            options = self.method.Options()
            if self.trains:
                learner = self.method(copy.deepcopy(self._encoders[seed]), options)
            else:
                learner = self.method(options)
        return learner.eval() if isinstance(learner, nn.Module) else learner

    def ask(self, asked: Question, learner: Any = None, *, draws: int = 0) -> Tensor:
        """Return `segment`'s answer of `learner` (default: a new one), as evaluation asks for it."""
        learner = self.build() if learner is None else learner
        grading = contextlib.nullcontext() if self.adapts else torch.inference_mode()
        with random_state(draws), grading:
            answer = learner.segment(*asked)
        if not isinstance(answer, Tensor):
            raise ContractError(f"segment gave a {type(answer).__name__}; allowed: a Tensor (Q,H,W) float32")
        return answer.detach()

    def logits(self, asked: Question, *, encode_alone: bool = True) -> Tensor:
        """Return the logits (Q,2,h,w) of a new prototype learner, as evaluation calls it.

        Args:
            asked: support and query slices.
            encode_alone: whether `encode` gets one slice per call, or support and query in one.
        """
        learner, (support, query) = self.build(), asked
        shots = len(support.images)
        images = torch.cat([support.images, query])
        grading = contextlib.nullcontext() if self.adapts else torch.inference_mode()
        with random_state(0), grading:
            batches = torch.split(images, 1 if encode_alone else len(images))
            maps = [learner.encode(batch) for batch in batches]
            several = [(one,) if isinstance(one, Tensor) else tuple(one) for one in maps]
            levels = [torch.cat(level) for level in zip(*several, strict=True)]
            given = [(level[:shots], level[shots:]) for level in levels]
            pair = given[0] if isinstance(maps[0], Tensor) else tuple(zip(*given, strict=True))
            prepared = learner.prepare(support.masks)
            scores, _defined = call_logits(learner, pair[0], support.masks, pair[1], prepared, "query")
        return scores.detach()

    @property
    def has_logits(self) -> bool:
        """Return whether evaluation calls `logits` of this learner, not `segment`."""
        return issubclass(self.method, PrototypeLearner)


@contextlib.contextmanager
def random_state(seed: int) -> Iterator[None]:
    """Seed the global generators of torch, numpy and Python inside, and put them back afterwards."""
    python, array = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(array)  # noqa: NPY002


def described(asked: Question) -> str:
    """Return a question in words, for messages."""
    support, query = asked
    return f"support masks {tuple(support.masks.shape)} and query slices {tuple(query.shape)}"


def gap(one: Tensor, other: Tensor) -> float:
    """Return the largest difference of two answers of one shape; values that are NaN in both are equal."""
    both = torch.isnan(one) & torch.isnan(other)
    difference = torch.where(both, 0.0, (one.float() - other.float()).abs())
    return float("inf") if bool(torch.isnan(difference).any()) else float(difference.max())


def fault(answer: Tensor, asked: Question) -> str | None:
    """Return what is wrong with the shape, dtype, values or range of an answer; None if nothing is."""
    return wrong_shape(answer, asked) or wrong_dtype(answer) or not_finite(answer) or out_of_range(answer)


def wrong_shape(answer: Tensor, asked: Question) -> str | None:
    """Say whether the answer is not (Q,H,W)."""
    wanted = (len(asked[1]), *asked[1].shape[-2:])
    if tuple(answer.shape) == wanted:
        return None
    return f"segment gave shape {tuple(answer.shape)}; allowed: {wanted}, that is (Q,H,W)"


def wrong_dtype(answer: Tensor) -> str | None:
    """Say whether the answer is not float32."""
    return None if answer.dtype == torch.float32 else f"segment gave {answer.dtype}; allowed: torch.float32"


def not_finite(answer: Tensor) -> str | None:
    """Say whether the answer has NaN or infinite values."""
    count = int((~torch.isfinite(answer)).sum())
    if not count:
        return None
    return f"segment gave {count} of {answer.numel()} values NaN or infinite; allowed: finite values"


def out_of_range(answer: Tensor) -> str | None:
    """Say whether finite values lie outside [0,1]."""
    values = answer[torch.isfinite(answer)]
    if not values.numel() or (values.min() >= 0 and values.max() <= 1):
        return None
    return (
        f"segment gave values from {values.min():.4g} to {values.max():.4g}; allowed: probabilities in [0, 1]"
    )


def takes_options(method: type[Any]) -> bool:
    """Say whether the class nests the options that commands read."""
    return inspect.isclass(getattr(method, "Options", None)) and hasattr(
        method.Options, "__dataclass_fields__"
    )
