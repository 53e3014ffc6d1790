"""The signal by which a cluster announces the end of a job: the training saves a checkpoint and stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP = signal.SIGUSR2  # submitit's choice: it reaches a job before its time is over, or at its preemption
_received = [False]


@contextmanager
def stop_at_signal() -> Iterator[None]:
    """Let SIGUSR2 stop a training at its next step during the block: checkpoint, then KeyboardInterrupt.

    An evaluation ignores the signal: it starts again in the next process.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set a handler
        yield
        return
    _received[0] = False
    before = signal.signal(STOP, _receive)
    try:
        yield
    finally:
        signal.signal(STOP, before)
        _received[0] = False


def stop_is_due() -> bool:
    """Return whether the signal has arrived."""
    return _received[0]


def _receive(_signal: int, _frame: FrameType | None) -> None:
    _received[0] = True
