"""Compile a learner's loss with torch.compile; a GPU replays it as CUDA graphs.

Shapes never depend on the data (`fewshot/learners/prototypes.py`). A method's whole loss, forward and
backward, is therefore one graph, and torch compiles it once.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

from fewshot.base.errors import UserError
from fewshot.files.temporaries import new_folder
from fewshot.learners.learner import LossResult

CACHE = "TORCHINDUCTOR_CACHE_DIR"  # torch's variable for the folder of what it compiled


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
    if device.type == "cpu":
        _choose_own_cache()
    compiled = torch.compile(
        loss, fullgraph=True, dynamic=False, mode="reduce-overhead" if graphs else "default"
    )

    def call(example: Any) -> LossResult:
        if graphs:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        with compile_errors():
            return compiled(example)

    return call


@contextmanager
def compile_errors() -> Iterator[None]:
    """Raise torch's errors of compilation in the block as `UserError`; it may compile in a backward pass."""
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        why = str(error).strip().splitlines()[0]
        raise UserError(f"--compile: torch can't compile the training step ({why}); leave it out") from error


@cache
def _choose_own_cache() -> None:
    """Let torch compile for the CPU in a folder that only this process uses, unless the user named one.

    The C++ compiler writes a library under its last name. A process that dies meanwhile leaves half of it,
    and every later process that shares the folder would load that half.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    if os.environ.get(CACHE, default_cache_dir()) != default_cache_dir():
        return
    folder, _lock = new_folder(Path(tempfile.gettempdir()) / "fewshot-compiled")
    os.environ[CACHE] = str(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
