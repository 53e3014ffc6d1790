"""Drawings of the page as SVG: an interval on the line from 0 to 100 %, and the scans of a class."""

from __future__ import annotations

from collections.abc import Iterable

from results.leaderboard.board import Number

WIDTH, HEIGHT = 132, 18


def interval_svg(number: Number) -> str:
    """Return mean and interval of a number; "" without a mean."""
    return _svg(_interval(number)) if number.mean is not None else ""


def scans_svg(number: Number, values: Iterable[float]) -> str:
    """Return the values of scans in [0, 1] as dots over mean and interval; NaN is not drawn."""
    dots = [
        f'<circle class="scan" cx="{_x(value):.1f}" cy="{HEIGHT / 2}" r="2.6"/>'
        for value in values
        if value == value
    ]
    return _svg("".join(dots) + (_interval(number) if number.mean is not None else ""))


def _interval(number: Number) -> str:
    assert number.mean is not None
    parts = []
    if number.interval is not None:
        low, high = (_x(min(max(end, 0.0), 1.0)) for end in (number.interval.low, number.interval.high))
        kind = "" if number.interval.covers_seeds else ' stroke-dasharray="3 2"'
        parts.append(f'<path class="interval" d="M{low:.1f} 9H{high:.1f}"{kind}/>')
    parts.append(f'<path class="mean" d="M{_x(number.mean):.1f} 3V15"/>')
    return "".join(parts)


def _svg(content: str) -> str:
    axis = f'<path class="axis" d="M4 9H{WIDTH - 4}M4 6V12M{WIDTH / 2} 7V11M{WIDTH - 4} 6V12"/>'
    return (
        f'<svg class="drawn" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'aria-hidden="true">{axis}{content}</svg>'
    )


def _x(value: float) -> float:
    return 4 + (WIDTH - 8) * value
