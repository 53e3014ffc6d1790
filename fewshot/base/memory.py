"""Memory of host and device: copies that nobody waits for, and going on with less where it runs out."""

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
SAID = ("not enough memory", "can't allocate memory", "out of memory", "STATUS_ALLOC_FAILED")


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor on `device`; towards a GPU through pinned memory, so that the host need not wait."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def free_memory(device: torch.device) -> int:
    """Return the bytes of a GPU's memory that nobody holds."""
    free, _whole = torch.cuda.mem_get_info(device)
    return int(free)


def out_of_memory(error: BaseException) -> bool:
    """Say whether an error is that the device or the host has no memory left.

    torch has a class for its own allocator on a device; for the host and for libraries, only the words.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SAID)


class Batches:
    """How many items are asked at once: halved where they do not fit in memory, and never raised again."""

    def __init__(self, size: int) -> None:
        self.size = size

    def over(self, items: Sequence[T], ask: Callable[[Sequence[T]], A]) -> Iterator[A]:
        """Yield what `ask` returns for each batch of `items`, in order.

        A batch that memory does not hold is asked again, half as large, and the log says so; `ask` must
        therefore change nothing before it returns. `UserError` where one item alone is too much.
        """
        start = 0
        while start < len(items):
            some = items[start : start + self.size]
            answered = self._tried(some, ask)
            if answered is not None:
                yield answered[0]
                start += len(some)

    def _tried(self, some: Sequence[T], ask: Callable[[Sequence[T]], A]) -> tuple[A] | None:
        """Return the answer; None where memory ran out and the batch was halved.

        A function of its own, so that the error, whose frames hold tensors, is gone at the next try.
        """
        try:
            return (ask(some),)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if len(some) == 1:
                raise UserError(
                    f"memory does not hold a single slice ({str(error).splitlines()[0]}); end other "
                    "programs, or use another --device, a smaller --encoder or smaller slices"
                ) from error
            self.size = len(some) // 2
            LOG.warning("memory does not hold %d slices at once; going on with %d", len(some), self.size)
            return None
