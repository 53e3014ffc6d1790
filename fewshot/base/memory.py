"""Pinned-memory transfers to the GPU, and batches that are halved when memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from fewshot.base.errors import UserError

T = TypeVar("T")
A = TypeVar("A")
LOG = logging.getLogger("fewshot")
MESSAGES = ("not enough memory", "can't allocate memory", "out of memory", "STATUS_ALLOC_FAILED")


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor on `device`; copies to a GPU use pinned memory, so that the host does not wait."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def free_memory(device: torch.device) -> int:
    """Return the free memory of a GPU in bytes."""
    free, _whole = torch.cuda.mem_get_info(device)
    return int(free)


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the device or the host is out of memory.

    torch has an exception class only for its device allocator; for the host and libraries the text decides.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in MESSAGES)


class Batches:
    """A batch size that is halved when a batch does not fit in memory, and never raised again."""

    def __init__(self, size: int) -> None:
        self.size = size

    def over(self, items: Sequence[T], compute: Callable[[Sequence[T]], A]) -> Iterator[A]:
        """Yield the result of `compute` for each batch of `items`, in order.

        When memory runs out, `over` halves the batch, logs it and calls `compute` again; so `compute` must
        change nothing before it returns. Raises `UserError` if a single item does not fit.
        """
        start = 0
        while start < len(items):
            batch = items[start : start + self.size]
            result = self._try_batch(batch, compute)
            if result is not None:
                yield result[0]
                start += len(batch)

    def _try_batch(self, batch: Sequence[T], compute: Callable[[Sequence[T]], A]) -> tuple[A] | None:
        """Return the result in a tuple; None if memory ran out and the size was halved.

        A separate function frees the error, whose frames hold tensors, before the next try.
        """
        try:
            return (compute(batch),)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if len(batch) == 1:
                raise UserError(
                    f"out of memory for a single slice ({str(error).splitlines()[0]}); end other "
                    "programs, or use another --device, a smaller --encoder or smaller slices"
                ) from error
            self.size = len(batch) // 2
            LOG.warning("out of memory for %d slices at once; continuing with %d", len(batch), self.size)
            return None
