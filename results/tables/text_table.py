"""Layout of a table: aligned columns for a terminal, or markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Grid:
    """The texts of a table: header, rows, and a summary row (or None).

    `best`: (row, column) of the cells that markdown and LaTeX print in bold.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    last: tuple[str, ...] | None
    best: frozenset[tuple[int, int]] = frozenset()

    @property
    def widths(self) -> list[int]:
        """Return the width of every column in characters."""
        lines = [self.header, *self.rows, *([self.last] if self.last else [])]
        return [max(map(len, column)) for column in zip(*lines, strict=True)]


def render_text(title: str, subtitle: str, grid: Grid, notes: Sequence[str]) -> str:
    """Return title, subtitle, a ruled table with right-aligned numbers, and notes."""
    widths = grid.widths
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [title, *([subtitle] if subtitle else []), rule, _line(grid.header, widths), rule]
    lines += [_line(row, widths) for row in grid.rows]
    if grid.last is not None:
        lines += [rule, _line(grid.last, widths)]
    return "\n".join([*lines, rule, *(f"  {note}" for note in notes)])


def render_markdown(title: str, subtitle: str, grid: Grid, notes: Sequence[str]) -> str:
    """Return a heading, a pipe table whose summary row is bold, and the notes as a list."""
    lines = [f"### {title}", "", *([subtitle, ""] if subtitle else []), _pipes(grid.header)]
    lines.append("|" + "|".join([" --- ", *[" ---: "] * (len(grid.header) - 1)]) + "|")
    lines += [
        _pipes([f"**{text}**" if (number, place) in grid.best else text for place, text in enumerate(row)])
        for number, row in enumerate(grid.rows)
    ]
    if grid.last is not None:
        lines.append(_pipes([f"**{text}**" if text else "" for text in grid.last]))
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)])


def render_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return mappings with equal keys as aligned lines under their keys; "none" for no rows."""
    if not rows:
        return "none"
    header = tuple(key.replace("_", " ") for key in rows[0])
    cells = [tuple(_cell(value) for value in row.values()) for row in rows]
    widths = Grid(header, tuple(cells), None).widths
    lines = [header, *cells]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _line(texts: Sequence[str], widths: Sequence[int]) -> str:
    first = texts[0].ljust(widths[0])
    rest = [text.rjust(width) for text, width in zip(texts[1:], widths[1:], strict=True)]
    return "  ".join([first, *rest]).rstrip()


def _pipes(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", r"\|") for text in texts) + " |"
