"""Where the time goes: named parts of a program, each without the named parts inside it."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Iterator
from typing import Any

Parts = dict[str, tuple[Any, str]]  # name of a part -> (module or class, name of its function)


@contextlib.contextmanager
def watched(parts: Parts) -> Iterator[dict[str, float]]:
    """Yield seconds by part while the block runs, filled at its end; "rest" is what no part accounts for.

    Functions are wrapped for the time of the block. Only the calling thread counts.
    """
    seconds = dict.fromkeys(parts, 0.0)
    inside = [0.0]  # seconds of named parts within each open part; the first is the block's
    owner = threading.get_ident()

    def wrapped(name: str, call: Any) -> Any:
        @functools.wraps(call)
        def timed(*args: Any, **options: Any) -> Any:
            if threading.get_ident() != owner:
                return call(*args, **options)
            inside.append(0.0)
            started = time.perf_counter()
            try:
                return call(*args, **options)
            finally:
                taken = time.perf_counter() - started
                seconds[name] += taken - inside.pop()
                inside[-1] += taken

        return timed

    with contextlib.ExitStack() as stack:
        for name, (home, attribute) in parts.items():
            call = getattr(home, attribute)
            stack.callback(setattr, home, attribute, call)
            setattr(home, attribute, wrapped(name, call))
        started = time.perf_counter()
        yield seconds
        seconds["rest"] = time.perf_counter() - started - inside[0]


def printed(title: str, seconds: dict[str, float]) -> str:
    """Return the parts as a table, largest first, with their share."""
    total = sum(seconds.values())
    lines = [f"{title}: {total:.2f} s"]
    for name, taken in sorted(seconds.items(), key=lambda item: -item[1]):
        lines.append(f"  {name:44} {taken:8.3f} s {100 * taken / total:6.1f} %")
    return "\n".join(lines)
