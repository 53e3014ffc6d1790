"""Progress bars with the remaining time, on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

ROW = "FEWSHOT_PROGRESS_ROW"  # terminal line below the cursor for this process, if several share a terminal

INTERVAL = "FEWSHOT_PROGRESS_INTERVAL"  # seconds between two drawings, if another process shows them


class Progress:
    """A progress bar that counts up to a total."""

    def __init__(self, bar: tqdm[Any]) -> None:
        self._bar = bar

    def update(self, count: int = 1) -> None:
        """Advance the bar by `count`."""
        self._bar.update(count)

    def note(self, text: str) -> None:
        """Show `text` after the bar when it is next drawn."""
        self._bar.set_postfix_str(text, refresh=False)


@contextmanager
def progress(
    total: int, description: str, unit: str = "it", initial: int = 0, shown: bool = True
) -> Iterator[Progress]:
    """Draw a bar while the block runs: five times a second on a terminal, twice a minute elsewhere.

    Args:
        total: number of items.
        description: text before the bar.
        unit: name of an item.
        initial: items that were finished before, as after a resume.
        shown: False draws nothing.
    """
    interval = float(os.environ.get(INTERVAL, 0.2 if sys.stderr.isatty() else 30.0))
    bar = tqdm(
        total=total, desc=description, unit=unit, initial=initial, mininterval=interval, maxinterval=interval,
        dynamic_ncols=True, smoothing=0.1, disable=not shown,
        position=int(os.environ.get(ROW, 0)),
    )  # fmt: skip
    with bar:
        yield Progress(bar)
