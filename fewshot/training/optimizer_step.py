"""One optimiser step. The CPU reads its scalars before the weights move, a GPU one step later."""

from __future__ import annotations

import math
from collections import deque
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from fewshot.base.errors import UserError
from fewshot.base.precision import autocast_to
from fewshot.learners.learner import LossResult
from fewshot.training.compile_step import compile_errors, compile_loss

UNREAD = 1  # steps that a GPU may still compute while the host queues the next one


class Example(Protocol):
    """The input of a step: an episode, or two views of a batch of pictures."""

    @property
    def label(self) -> str: ...
    def to(self, device: torch.device) -> Example: ...


class Trainable(Protocol):
    """A learner that can be trained; it is a `torch.nn.Module` as well."""

    def loss(self, episode: Any) -> LossResult: ...
    def parameter_groups(self) -> list[dict[str, Any]]: ...


class Schedule(Protocol):
    """A recipe that training can use, such as `fewshot.learner.Recipe`; it is a dataclass as well."""

    @property
    def steps(self) -> int: ...
    @property
    def momentum(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    def rate_after(self, moves: int) -> float: ...
    @property
    def snapshot_every(self) -> int: ...


@dataclass(frozen=True)
class StepResult:
    """Scalars of one optimiser step.

    `defined`: whether the weights moved; `skipped`: the step's episodes without a loss; `rate`: the learning
    rate.
    """

    step: int
    rate: float
    label: str
    total: float
    parts: dict[str, float]
    defined: bool
    skipped: int


@dataclass(frozen=True)
class _Queued:
    """A step whose scalars the device may still compute; `there` is the event of their arrival."""

    step: int
    rate: float
    label: str
    names: tuple[str, ...]
    numbers: Tensor
    there: Any  # torch.cuda.Event; None on the CPU

    def read(self) -> StepResult:
        """Wait for the scalars and return them; raise `UserError` if a defined loss is not finite."""
        if self.there is not None:
            self.there.synchronize()
        total, *values, defined, skipped = self.numbers.tolist()
        parts = dict(zip(self.names, values, strict=True))
        if defined and not math.isfinite(total):
            shown = ", ".join(f"{name} {value}" for name, value in {**parts, "total": total}.items())
            raise UserError(
                f"the loss of step {self.step} is not finite ({shown}; rate {self.rate:g}, episode "
                f"{self.label!r}); lower learning_rate, or look at that episode's slice"
            )
        return StepResult(self.step, self.rate, self.label, total, parts, bool(defined), int(skipped))


class Stepper:
    """Take optimiser steps of a learner, one example each.

    With `async_readback` the host never waits inside a step. A flag that fused SGD reads on the device holds
    back an update whose loss is undefined or not finite, and the host reads a step's scalars after it has
    queued the next step. Without it the host reads them before the weights move.

    Args:
        learner: the learner, on `device`; it has `loss` and `parameter_groups` (`Trainable`).
        recipe: learning rate, momentum and weight decay.
        device: the device of the learner.
        precision: "float32" or "bf16", of the loss.
        async_readback: whether the host reads the scalars one step later.
        compiled: whether torch compiles the loss.
    """

    def __init__(
        self, learner: nn.Module, recipe: Schedule, device: torch.device, precision: str,
        async_readback: bool, compiled: bool = False,
    ) -> None:  # fmt: skip
        self._trainable = cast(Trainable, learner)
        self._compiled_loss = compile_loss(self._trainable.loss, device) if compiled else None
        self._device = device
        self._precision = precision
        # RMSprop has no flag that holds an update back, so the host reads its scalars first
        self._async_readback = async_readback and getattr(learner, "optimizer", "sgd") != "rmsprop"
        self._queue: deque[_Queued] = deque()
        self.optimiser = _optimizer(self._trainable, recipe)

    @property
    def unread(self) -> int:
        """Number of queued steps whose scalars the host has not read."""
        return len(self._queue)

    def prepare_optimizer(self) -> None:
        """Prepare the optimiser after a load of its state, which may be of another kind of device."""
        for group in self.optimiser.param_groups:
            if not isinstance(self.optimiser, torch.optim.RMSprop):
                group["fused"] = True
            is_sgd = isinstance(self.optimiser, torch.optim.SGD)
            for parameter in group["params"] if self._async_readback and is_sgd else ():
                # SGD makes this buffer at its first step; it must exist if the flag holds that step back
                self.optimiser.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))

    def take(self, episode: Example, step: int, rate: float) -> list[StepResult]:
        """Take a step with this learning rate; return the steps read by now, in order.

        Raises:
            UserError: the defined loss of a step that was read is not finite.
        """
        begin_step = getattr(self._trainable, "begin_step", None)
        if begin_step is not None:
            begin_step(step - 1)
        loss = self._trainable.loss if self._compiled_loss is None else self._compiled_loss
        with autocast_to(self._precision, self._device):
            result = loss(episode.to(self._device))
        numbers = _stack_scalars(result)
        names = tuple(result.parts)
        if not self._async_readback:
            step_result = _Queued(step, rate, episode.label, names, numbers, None).read()
            if step_result.defined:
                self._move(result.total, rate)
            return [step_result]
        finite = torch.isfinite(numbers[0]) & result.defined
        self.optimiser.found_inf = (~finite).float()  # type: ignore[attr-defined]
        self._move(result.total, rate)
        there = None
        if numbers.device.type == "cuda":
            numbers = numbers.to("cpu", non_blocking=True)
            there = torch.cuda.Event()  # type: ignore[no-untyped-call]
            there.record()
        self._queue.append(_Queued(step, rate, episode.label, names, numbers, there))
        return self._read(UNREAD)

    def read_all(self) -> list[StepResult]:
        """Wait for every queued step and return them in order; raises as `take` does."""
        return self._read(0)

    def _read(self, left: int) -> list[StepResult]:
        return [self._queue.popleft().read() for _ in range(len(self._queue) - left)]

    def _move(self, total: Tensor, rate: float) -> None:
        with nullcontext() if self._compiled_loss is None else compile_errors():
            total.backward()  # type: ignore[no-untyped-call]
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get("rate", 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)  # now: the next compiled loss overwrites their memory


def _optimizer(trainable: Trainable, recipe: Schedule) -> torch.optim.Optimizer:
    """Return SGD, or what a learner's `optimizer` names; Adam's and AdamW's first beta is the momentum.

    Fused (SGD, Adam): one pass over weight, gradient and moments; it reads the flag `found_inf`.
    """
    groups, rate, decay = trainable.parameter_groups(), recipe.rate_after(0), recipe.weight_decay
    name = getattr(trainable, "optimizer", "sgd")
    if name in ("adam", "adamw"):
        kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
        betas = (recipe.momentum, 0.999)
        return kind(groups, lr=rate, betas=betas, weight_decay=decay, fused=True)
    if name == "rmsprop":
        return torch.optim.RMSprop(groups, lr=rate, momentum=recipe.momentum, weight_decay=decay)
    return torch.optim.SGD(groups, lr=rate, momentum=recipe.momentum, weight_decay=decay, fused=True)


def _stack_scalars(result: LossResult) -> Tensor:
    """Return total, parts, defined and skipped as one tensor, so that one copy moves them to the host."""
    numbers = [result.total, *result.parts.values(), result.defined, result.skipped]
    return torch.stack([number.detach().to(torch.float32) for number in numbers])
