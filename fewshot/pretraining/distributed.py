"""Data-parallel training: each of several processes computes its share of a batch; or one process alone."""

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
import torch.distributed.nn.functional  # before a group exists: its defaults would hold the group
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fewshot.base.errors import UserError
from fewshot.files.locks import if_free, locked

LOG = logging.getLogger("fewshot")
PAUSE = 2.0  # seconds between two attempts to lock; a collective times out after half an hour
TORCHRUN = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # torchrun sets them beside WORLD_SIZE


class _Spare(nn.Module):
    """Wrapper with one unused parameter, so that DDP's `find_unused_parameters=True` does not warn."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.spare = nn.Parameter(torch.zeros(1, device=next(module.parameters()).device))

    def forward(self, *inputs: Any) -> Any:
        """Return the output of the wrapped module."""
        return self.module(*inputs)


@dataclass(frozen=True)
class DistributedContext:
    """The rank of this process and the number of processes; with one process all is the identity."""

    rank: int = 0
    size: int = 1
    _wrapped: dict[nn.Module, nn.Module] = field(default_factory=dict)

    def average_gradients(self, module: nn.Module) -> nn.Module:
        """Return the module to call so that its gradients are averaged over the processes.

        The first process broadcasts its buffers, such as BatchNorm's statistics. `find_unused_parameters`
        keeps the gradient buckets equal at every step: by default torch rebuilds them after a process's
        first step. With three or more processes the order of a sum depends on the bucket, so a resumed
        training would then differ from an uninterrupted one.
        """
        if self.size == 1 or not torch.is_grad_enabled():
            return module
        if module not in self._wrapped:
            self._wrapped[module] = DistributedDataParallel(_Spare(module), find_unused_parameters=True)
        return self._wrapped[module]

    def leave(self) -> None:
        """Drop the wrapped modules: they hold the process group, and with it the group's threads."""
        self._wrapped.clear()

    def all_gather(self, tensor: Tensor) -> Tensor:
        """Concatenate the (N,...) tensors of all processes, in rank order, to (size*N,...); no gradient."""
        if self.size == 1:
            return tensor
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(self.size)]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    def wait(self) -> None:
        """Block until every process has called `wait`."""
        if self.size > 1:
            dist.barrier()

    @contextmanager
    def lock_on_rank0(self, lock: Path) -> Iterator[None]:
        """Hold the lock file `lock` during the block: wait until it is free; rank 0 locks it for all."""
        if self.size == 1:
            with locked(lock):
                yield
            return
        waited = False
        while True:
            with if_free(lock) if self.rank == 0 else nullcontext(False) as is_locked:
                message = [is_locked]
                dist.broadcast_object_list(message)
                if message[0]:
                    yield
                    return
            if self.rank == 0 and not waited:
                LOG.info("waiting for another process that holds %s", lock)
            waited = True
            time.sleep(PAUSE)


@contextmanager
def init_distributed(device: torch.device) -> Iterator[tuple[DistributedContext, torch.device]]:
    """Join the process group if `torchrun` started this process; yield the context and its device.

    Without `torchrun` the context has one process. With CUDA each process uses the GPU of its local rank.
    Raises `UserError` if that GPU does not exist, if `device` has an index, or if a variable of `torchrun` is
    missing.
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
        local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= gpus:
            raise UserError(
                f"torchrun started process {local + 1} of this machine and torch finds {gpus} GPUs here; "
                f"give --nproc-per-node {gpus}"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    context = DistributedContext(dist.get_rank(), dist.get_world_size())
    try:
        yield context, device
    finally:
        # The group's threads end when nothing holds the group. Threads that outlive the interpreter abort
        # the process as soon as they free a tensor.
        context.leave()
        gc.collect()
        dist.destroy_process_group()


def _processes() -> int:
    """Return the number of processes from WORLD_SIZE; raise `UserError` for an incomplete environment."""
    text = os.environ.get("WORLD_SIZE", "1")
    missing = [name for name in TORCHRUN if name not in os.environ]
    if text == "1" or (text.isdecimal() and int(text) > 1 and not missing):
        return int(text)
    wrong = f"but not {', '.join(missing)}" if missing else "which is not a number of processes"
    raise UserError(
        f"WORLD_SIZE is set to {text!r}, {wrong}: torchrun sets all of them; start several processes by it, "
        "or unset WORLD_SIZE for one"
    )
