"""The loss of a training step as one compiled program; on a GPU it is replayed as CUDA graphs.

Shapes never depend on the data (`fewshot/learners/prototypes.py`), so a method's whole loss, forward and
backward, is one graph that is compiled once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fewshot.base.errors import UserError
from fewshot.learners.learner import LossResult


def compiled(loss: Callable[[Any], LossResult], device: torch.device) -> Callable[[Any], LossResult]:
    """Return `loss` compiled for tensors on `device`, at its first call, which takes a minute or more.

    What a call returns holds until the next call. Raises `UserError` where the loss is no single graph, as
    where it asks the device for a number, or where torch has no compiler here.
    """
    graphs = device.type == "cuda"
    whole = torch.compile(
        loss, fullgraph=True, dynamic=False, mode="reduce-overhead" if graphs else "default"
    )

    def called(example: Any) -> LossResult:
        from torch._dynamo.exc import TorchDynamoException

        if graphs:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        try:
            return whole(example)
        except TorchDynamoException as error:
            why = str(error).strip().splitlines()[0]
            raise UserError(
                f"--compile: torch can't compile the training step ({why}); leave it out"
            ) from error

    return called
