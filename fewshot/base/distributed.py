"""Several processes that train one model together, each with its share of a batch; or one alone."""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.nn.functional  # before a group is there: its defaults would keep the group for good
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fewshot.base.errors import UserError
from fewshot.base.locks import if_free, locked

LOG = logging.getLogger("fewshot")
PAUSE = 2.0  # seconds between two looks at a lock; a collective may be pending for half an hour at most
PLACE = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets beside WORLD_SIZE


class _Spare(nn.Module):
    """A module beside a parameter that takes no part, without which torch warns of looking for such ones."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.spare = nn.Parameter(torch.zeros(1, device=next(module.parameters()).device))

    def forward(self, *given: Any) -> Any:
        """Return what the module does."""
        return self.module(*given)


@dataclass(frozen=True)
class DistributedContext:
    """This process's place among `size`; alone, everything is the identity."""

    rank: int = 0
    size: int = 1
    _wrapped: dict[nn.Module, nn.Module] = field(default_factory=dict)

    def gradients_averaged(self, module: nn.Module) -> nn.Module:
        """Return the module as it is to be called so that gradients are averaged over the processes.

        Buffers, such as BatchNorm's statistics, are those of the first process. Gradients are summed in the
        same buckets at every step: torch would otherwise choose other ones after a process's first step, and
        from three processes on the order of a sum depends on the place in its bucket, so that a training
        that goes on after a kill would end elsewhere.
        """
        if self.size == 1 or not torch.is_grad_enabled():
            return module
        if module not in self._wrapped:
            self._wrapped[module] = DistributedDataParallel(_Spare(module), find_unused_parameters=True)
        return self._wrapped[module]

    def leave(self) -> None:
        """Let go of what was wrapped: it holds the group of processes, and with it the group's threads."""
        self._wrapped.clear()

    def gathered(self, mine: Tensor) -> Tensor:
        """Return (size*N,...) of every process's (N,...), in the order of the ranks; no gradient."""
        if self.size == 1:
            return mine
        parts = [torch.empty_like(mine, memory_format=torch.contiguous_format) for _ in range(self.size)]
        dist.all_gather(parts, mine.contiguous())
        return torch.cat(parts)

    def wait(self) -> None:
        """Go on when every process has come here."""
        if self.size > 1:
            dist.barrier()

    @contextmanager
    def holding(self, lock: Path) -> Iterator[None]:
        """Hold a lock file, as long as it takes, by the first process on behalf of all."""
        if self.size == 1:
            with locked(lock):
                yield
            return
        waited = False
        while True:
            with if_free(lock) if self.rank == 0 else nullcontext(False) as ours:
                told = [ours]
                dist.broadcast_object_list(told)
                if told[0]:
                    yield
                    return
            if self.rank == 0 and not waited:
                LOG.info("waiting for another process that holds %s", lock)
            waited = True
            time.sleep(PAUSE)


@contextmanager
def init_distributed(device: torch.device) -> Iterator[tuple[DistributedContext, torch.device]]:
    """Join the processes that `torchrun` started; alone where it did not. Yield the place and its device.

    On a GPU every process takes the one of its number on the machine. Raises `UserError` where there is none,
    where the device has a number, and where what `torchrun` tells a process is not there.
    """
    size = _processes()
    if size == 1:
        yield DistributedContext(), device
        return
    if device.type == "cuda":
        if device.index is not None:
            raise UserError(
                f"--device {device}: torchrun gives every process the GPU of its own number; leave the "
                f"number out (--device {device.type})"
            )
        local, found = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= found:
            raise UserError(
                f"torchrun started process {local + 1} of this machine and torch finds {found} GPUs here; "
                f"give --nproc-per-node {found}"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    together = DistributedContext(dist.get_rank(), dist.get_world_size())
    try:
        yield together, device
    finally:
        # The group's threads end with the last that holds it. Left alone they outlive the interpreter, and
        # the one that then frees a tensor aborts the process.
        together.leave()
        gc.collect()
        dist.destroy_process_group()


def _processes() -> int:
    """Return how many processes train together, from the environment."""
    text = os.environ.get("WORLD_SIZE", "1")
    missing = [name for name in PLACE if name not in os.environ]
    if text == "1" or (text.isdecimal() and int(text) > 1 and not missing):
        return int(text)
    wrong = f"but not {', '.join(missing)}" if missing else "which is no number of processes"
    raise UserError(
        f"WORLD_SIZE is set to {text!r}, {wrong}: torchrun sets all of them; start several processes by it, "
        "or unset WORLD_SIZE for one"
    )
