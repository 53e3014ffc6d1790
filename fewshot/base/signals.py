"""SIGTERM as an exception, so that a terminated command ends as an interrupted one does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

HELPER = "FEWSHOT_HELPER"  # variable of the environment: "1" in a process of another one


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM. Whatever lets Ctrl-C through lets it through too."""


@contextmanager
def sigterm_as_exception() -> Iterator[None]:
    """Raise `Terminated` where the main thread is when SIGTERM arrives during the block.

    A handler that the program around us has set stays.
    """
    if threading.current_thread() is not threading.main_thread() or (
        signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    ):
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated
