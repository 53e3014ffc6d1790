"""Compile a learner's loss with torch.compile; a GPU replays it as CUDA graphs.

Shapes never depend on the data (`fewshot/learners/prototypes.py`). A method's whole loss, forward and
backward, is therefore one graph, and torch compiles it once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fewshot.base.errors import UserError
from fewshot.learners.learner import LossResult


def compile_loss(loss: Callable[[Any], LossResult], device: torch.device) -> Callable[[Any], LossResult]:
    """Return a function that compiles `loss` at its first call, which takes a minute or more.

    The next call overwrites the tensors of a result.

    Args:
        loss: the loss of one example.
        device: the device of the example's tensors and of the learner.

    Raises:
        UserError: at a call, if the loss is not a single graph (it reads a number of the device), or if torch
            has no compiler here.
    """
    graphs = device.type == "cuda"
    compiled = torch.compile(
        loss, fullgraph=True, dynamic=False, mode="reduce-overhead" if graphs else "default"
    )

    def call(example: Any) -> LossResult:
        from torch._dynamo.exc import TorchDynamoException

        if graphs:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        try:
            return compiled(example)
        except TorchDynamoException as error:
            why = str(error).strip().splitlines()[0]
            raise UserError(
                f"--compile: torch can't compile the training step ({why}); leave it out"
            ) from error

    return call
