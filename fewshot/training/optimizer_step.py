"""One optimiser step: on the CPU its numbers are read before the weights move, on a GPU one step later."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from fewshot.base.errors import UserError
from fewshot.base.precision import autocast_to
from fewshot.learners.learner import LossResult
from fewshot.training.compile_step import compiled

UNREAD = 1  # steps whose numbers a GPU may still be computing while the next one is queued


class Example(Protocol):
    """What a step learns from: an episode, or the views of some pictures."""

    @property
    def label(self) -> str: ...
    def to(self, device: torch.device) -> Example: ...


class Trainable(Protocol):
    """What training asks of a learner, which is a `torch.nn.Module` as well."""

    def loss(self, episode: Any) -> LossResult: ...
    def parameter_groups(self) -> list[dict[str, Any]]: ...


class Schedule(Protocol):
    """What training asks of a recipe, which is a dataclass as well: `fewshot.recipe.Recipe` has it."""

    @property
    def steps(self) -> int: ...
    @property
    def momentum(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def snapshot_every(self) -> int: ...
    def rate_after(self, moves: int) -> float: ...


@dataclass(frozen=True)
class StepResult:
    """What a step came to; `skipped`: episodes of it without a loss, `defined`: whether the weights moved."""

    step: int
    rate: float
    label: str
    total: float
    parts: dict[str, float]
    defined: bool
    skipped: int


@dataclass(frozen=True)
class _Queued:
    """A step whose numbers are on their way from the device; `there`: when they have come."""

    step: int
    rate: float
    label: str
    names: tuple[str, ...]
    numbers: Tensor
    there: Any  # torch.cuda.Event; None on the CPU

    def told(self) -> StepResult:
        """Wait for the numbers and return them; `UserError` where a loss that counts is not finite."""
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
    """A learner and its optimiser, moved episode by episode.

    With `ahead` the host never waits inside a step: an update that must not happen (no defined loss, or
    none that is finite) is held back on the device, by the flag that fused SGD reads, and the numbers of
    a step are read when the next one has been queued. Without, they are read before the weights move.
    `whole`: the loss is compiled.
    """

    def __init__(
        self, learner: nn.Module, recipe: Schedule, device: torch.device, precision: str, ahead: bool,
        whole: bool = False,
    ) -> None:  # fmt: skip
        self._trainable = cast(Trainable, learner)
        self._whole = compiled(self._trainable.loss, device) if whole else None
        self._device = device
        self._precision = precision
        self._ahead = ahead
        self._queue: deque[_Queued] = deque()
        self.optimiser = torch.optim.SGD(
            self._trainable.parameter_groups(),
            lr=recipe.rate_after(0),
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            fused=True,  # one pass over weight, gradient and momentum; it reads the flag that holds it back
        )

    @property
    def unread(self) -> int:
        """Steps that were queued and not yet told."""
        return len(self._queue)

    def settle(self) -> None:
        """Make the optimiser ready, after its state was loaded: a checkpoint may be of another device."""
        for group in self.optimiser.param_groups:
            group["fused"] = True
            for parameter in group["params"] if self._ahead else ():
                # what SGD takes from the first step; it must be there, since that step may be held back
                self.optimiser.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))

    def take(self, episode: Example, step: int, rate: float) -> list[StepResult]:
        """Take a step with this learning rate; return what was told by now, in order of steps."""
        begin_step = getattr(self._trainable, "begin_step", None)
        if begin_step is not None:
            begin_step(step - 1)
        loss = self._trainable.loss if self._whole is None else self._whole
        with autocast_to(self._precision, self._device):
            result = loss(episode.to(self._device))
        numbers = _together(result)
        names = tuple(result.parts)
        if not self._ahead:
            told = _Queued(step, rate, episode.label, names, numbers, None).told()
            if told.defined:
                self._move(result.total, rate)
            return [told]
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

    def rest(self) -> list[StepResult]:
        """Wait for all that was queued and return it."""
        return self._read(0)

    def _read(self, left: int) -> list[StepResult]:
        return [self._queue.popleft().told() for _ in range(len(self._queue) - left)]

    def _move(self, total: Tensor, rate: float) -> None:
        total.backward()  # type: ignore[no-untyped-call]
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get("rate", 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)  # now: a compiled loss has them where it writes next


def _together(result: LossResult) -> Tensor:
    """Return total, parts, defined and skipped as one tensor, so that one copy brings them."""
    numbers = [result.total, *result.parts.values(), result.defined, result.skipped]
    return torch.stack([number.detach().to(torch.float32) for number in numbers])
