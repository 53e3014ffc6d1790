"""Several processes that train one model together, each with its share of a batch; or one alone."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
import torch.distributed.nn.functional  # before a group is there: its defaults would keep the group for good
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fewshot.errors import UserError


@dataclass(frozen=True)
class Together:
    """This process's place among `size`; alone, everything is the identity."""

    rank: int = 0
    size: int = 1
    _wrapped: dict[nn.Module, nn.Module] = field(default_factory=dict)

    def gradients_averaged(self, module: nn.Module) -> nn.Module:
        """Return the module as it is to be called so that gradients are averaged over the processes.

        Buffers, such as BatchNorm's statistics, are those of the first process.
        """
        if self.size == 1 or not torch.is_grad_enabled():
            return module
        if module not in self._wrapped:
            self._wrapped[module] = DistributedDataParallel(module)
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
def joined(device: torch.device) -> Iterator[tuple[Together, torch.device]]:
    """Join the processes that `torchrun` started; alone where it did not. Yield the place and its device.

    On a GPU every process takes the one of its number on the machine. Raises `UserError` where there is none.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Together(), device
        return
    if device.type == "cuda":
        local, found = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= found:
            raise UserError(
                f"torchrun started process {local + 1} of this machine and torch finds {found} GPUs here; "
                f"give --nproc-per-node {found}"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    together = Together(dist.get_rank(), dist.get_world_size())
    try:
        yield together, device
    finally:
        # The group's threads end with the last that holds it. Left alone they outlive the interpreter, and
        # the one that then frees a tensor aborts the process.
        together.leave()
        gc.collect()
        dist.destroy_process_group()
