"""Progress with time left, on standard error, for work that takes more than a moment."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

ROW = "FEWSHOT_PROGRESS_ROW"  # the line below the cursor that a process draws on, of several on one terminal


class Progress:
    """A bar that counts up to a total."""

    def __init__(self, bar: tqdm[Any]) -> None:
        self._bar = bar

    def update(self, count: int = 1) -> None:
        """Count `count` more as done."""
        self._bar.update(count)

    def note(self, text: str) -> None:
        """Show `text` after the bar, from its next drawing on."""
        self._bar.set_postfix_str(text, refresh=False)


@contextmanager
def progress(
    total: int, description: str, unit: str = "it", initial: int = 0, shown: bool = True
) -> Iterator[Progress]:
    """Draw a bar while the block runs: often on a terminal, twice a minute in a log."""
    interval = 0.2 if sys.stderr.isatty() else 30.0
    bar = tqdm(
        total=total, desc=description, unit=unit, initial=initial, mininterval=interval, maxinterval=interval,
        dynamic_ncols=True, smoothing=0.1, disable=not shown,
        position=int(os.environ.get(ROW, 0)),
    )  # fmt: skip
    with bar:
        yield Progress(bar)
