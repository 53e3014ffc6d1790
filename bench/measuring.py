"""What every part of the benchmark shares: sizes, the best of alternating runs, and rows with a target."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


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
