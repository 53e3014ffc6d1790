"""The learner under check: builds it and calls it so that each check finds one fault, not another check's.

Every call gets a new learner, new tensors and a global random state of its own. State that a learner keeps,
changes or draws in one check so cannot reach another.
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
from fewshot.contract.synthetic_inputs import Inputs
from fewshot.learners.learner import PrototypeLearner
from fewshot.learners.logits import call_logits
from fewshot.learners.query_mode import query_mode
from fewshot.learners.registry import trains

Encoder = Callable[[int], nn.Module]  # a seed -> (N,1,H,W) -> features, one map or several


class ContractError(Exception):
    """A fault that a check found: the inputs, the result, and what is allowed."""


class ContractWarning(Exception):  # noqa: N818
    """What a check found that is allowed but rarely meant."""


class NotApplicableError(Exception):
    """Why a check does not apply to this learner."""


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
        """Return a new learner in evaluation mode.

        Args:
            seed: seeds the encoder and, as the harness does, torch's generator for a layer's first weights.
            draws: seeds the other global random states during the build.
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

    def segment(self, inputs: Inputs, learner: Any = None, *, draws: int = 0) -> Tensor:
        """Call `segment` as evaluation does.

        Args:
            inputs: support and query slices.
            learner: the learner to call; default: a new one.
            draws: seeds the global random state during the call.

        Returns:
            The learner's probabilities, (Q,H,W) if it keeps the contract.

        Raises:
            ContractError: `segment` returned no tensor.
        """
        learner = self.build() if learner is None else learner
        grading = contextlib.nullcontext() if self.adapts else torch.inference_mode()
        with random_state(draws), grading:
            prediction = learner.segment(*inputs)
        if not isinstance(prediction, Tensor):
            raise ContractError(
                f"segment gave a {type(prediction).__name__}; allowed: a Tensor (Q,H,W) float32"
            )
        return prediction.detach()

    def logits(self, inputs: Inputs, *, encode_alone: bool = True) -> Tensor:
        """Return the logits (Q,2,h,w) of a new prototype learner, as evaluation calls it.

        Args:
            inputs: support and query slices.
            encode_alone: True gives `encode` one slice per call; False gives it support and query at once.
        """
        learner, (support, query) = self.build(), inputs
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
        """Whether evaluation calls `logits` of this learner instead of `segment`."""
        return issubclass(self.method, PrototypeLearner)


@contextlib.contextmanager
def random_state(seed: int) -> Iterator[None]:
    """Seed the global generators of torch, numpy and Python inside the block and restore them after it."""
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


def describe(inputs: Inputs) -> str:
    """Return the shapes of inputs in words, for messages."""
    support, query = inputs
    return f"support masks {tuple(support.masks.shape)} and query slices {tuple(query.shape)}"


def gap(first: Tensor, second: Tensor) -> float:
    """Return the largest difference of two predictions of one shape; NaN in both is no difference."""
    both = torch.isnan(first) & torch.isnan(second)
    difference = torch.where(both, 0.0, (first.float() - second.float()).abs())
    return float("inf") if bool(torch.isnan(difference).any()) else float(difference.max())


def fault(prediction: Tensor, inputs: Inputs) -> str | None:
    """Return the first fault in the shape, dtype, values or range of a prediction; None without one."""
    return (
        wrong_shape(prediction, inputs)
        or wrong_dtype(prediction)
        or not_finite(prediction)
        or out_of_range(prediction)
    )


def wrong_shape(prediction: Tensor, inputs: Inputs) -> str | None:
    """Return the fault if a prediction is not (Q,H,W), else None."""
    wanted = (len(inputs[1]), *inputs[1].shape[-2:])
    if tuple(prediction.shape) == wanted:
        return None
    return f"segment gave shape {tuple(prediction.shape)}; allowed: {wanted}, that is (Q,H,W)"


def wrong_dtype(prediction: Tensor) -> str | None:
    """Return the fault if a prediction is not float32, else None."""
    return (
        None
        if prediction.dtype == torch.float32
        else f"segment gave {prediction.dtype}; allowed: torch.float32"
    )


def not_finite(prediction: Tensor) -> str | None:
    """Return the fault if a prediction has NaN or infinite values, else None."""
    count = int((~torch.isfinite(prediction)).sum())
    if not count:
        return None
    return f"segment gave {count} of {prediction.numel()} values NaN or infinite; allowed: finite values"


def out_of_range(prediction: Tensor) -> str | None:
    """Return the fault if finite values lie outside [0,1], else None."""
    values = prediction[torch.isfinite(prediction)]
    if not values.numel() or (values.min() >= 0 and values.max() <= 1):
        return None
    return (
        f"segment gave values from {values.min():.4g} to {values.max():.4g}; allowed: probabilities in [0, 1]"
    )


def takes_options(method: type[Any]) -> bool:
    """Whether the class nests the dataclass `Options` that commands read."""
    return inspect.isclass(getattr(method, "Options", None)) and hasattr(
        method.Options, "__dataclass_fields__"
    )
