"""Shared parts of the benchmark: sizes, the best of alternating runs, seconds by part, rows with a target."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
Parts = dict[str, tuple[Any, str]]  # name of a part -> (module or class, name of its function)


@dataclass(frozen=True)
class Sizes:
    """How large everything is; `thin` keeps every n-th slice. `TINY` tries the program out, not a machine."""

    encoder: str = "resnet101"
    side: int = 256
    rounds: int = 5
    scans: int = 8  # of the fold that is evaluated and what supports it
    thin: int = 1
    large: tuple[int, int] = (30, 128)  # scans and slices a scan of the CT set, as Synapse's


FULL = Sizes()
TINY = Sizes("resnet18", 64, 1, 6, 3, (10, 12))


def best(calls: Mapping[str, Callable[[], Any]], rounds: int, warm: bool = True) -> dict[str, float]:
    """Return the least seconds of each call over alternating rounds, after a run of each that warms up."""
    seconds = dict.fromkeys(calls, float("inf"))
    for call in calls.values() if warm else ():
        call()
    for _round in range(rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    return seconds


def row(name: str, value: float, target: float | None = None, least: bool = False) -> Row:
    """Return one row of a result; `value` must be at most `target`, or at least it where `least`."""
    ok = target is None or (value >= target if least else value <= target)
    return {"name": name, "value_U": round(value, 4), "target_U": target, "ok": ok}


def printed(rows: list[Row]) -> str:
    """Return rows as a table; what missed its target is marked."""
    lines = [f"{'':76} {'value':>9} {'target':>9}"]
    for one in rows:
        target = "" if one["target_U"] is None else f"{one['target_U']:9.4g}"
        marked = "" if one["ok"] else "MISSED"
        lines.append(f"{one['name']:76} {one['value_U']:9.4g} {target:>9} {marked}".rstrip())
    return "\n".join(lines)


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


def printed_parts(title: str, seconds: dict[str, float]) -> str:
    """Return the parts as a table, largest first, with their share."""
    total = sum(seconds.values())
    lines = [f"{title}: {total:.2f} s"]
    for name, taken in sorted(seconds.items(), key=lambda item: -item[1]):
        lines.append(f"  {name:44} {taken:8.3f} s {100 * taken / total:6.1f} %")
    return "\n".join(lines)
