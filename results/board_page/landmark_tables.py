"""The block of points under the table of all configurations: a table per board whose dataset has points."""

from __future__ import annotations

from collections.abc import Sequence

from results.board_page.boards import PageBoard
from results.board_page.elements import plain_table
from results.leaderboard.board_landmarks import landmark_grid, landmark_notes, landmark_rows
from results.leaderboard.html import escaped
from results.tables.text_table import Grid


def landmark_tables(boards: Sequence[PageBoard]) -> str:
    """Return a heading, a table and notes for each board with points; "" without one."""
    return "".join(_block(entry) for entry in boards)


def _block(entry: PageBoard) -> str:
    rows = landmark_rows(entry.board)
    if not rows:
        return ""
    short = {line.row.configuration_id: name for name, line in entry.named_lines()}
    grid = landmark_grid(rows)
    named = tuple(
        (short[own.line.row.configuration_id], *texts[1:]) for own, texts in zip(rows, grid.rows, strict=True)
    )
    notes = "".join(f"<li>{escaped(note)}</li>" for note in landmark_notes(rows))
    title = f"Landmarks on {entry.title}"
    return (
        f'<section class="landmarks" aria-label="{escaped(title)}">\n<h2>{escaped(title)}</h2>\n'
        f"{plain_table('Distances in mm and shares of points in percent', Grid(grid.header, named, None))}\n"
        f"<details><summary>What is counted</summary><ul>{notes}</ul></details>\n</section>\n"
    )
