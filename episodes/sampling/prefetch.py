"""Build items ahead in background threads, so that the training thread does not wait for the disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetch(
    build: Callable[[int], T], steps: range, depth: int, workers: int = 1
) -> Generator[T, None, None]:
    """Yield build(step) for every step, in order, with up to `depth` items built ahead.

    An exception of `build` is raised here in place of the step's item. Closing the generator cancels waiting
    steps and ends the threads after their current items.

    Args:
        build: called by the background threads.
        steps: steps to build.
        depth: most items that are built or being built ahead, >= 1.
        workers: number of background threads.
    """
    if depth < 1:
        raise ValueError(f"depth is {depth}, expected at least 1")
    worker = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="prefetch")
    waiting: deque[Future[T]] = deque(worker.submit(build, step) for step in steps[:depth])
    try:
        for later in range(depth, depth + len(steps)):
            item = waiting.popleft().result()
            if later < len(steps):
                waiting.append(worker.submit(build, steps[later]))
            yield item
    finally:
        worker.shutdown(wait=True, cancel_futures=True)
