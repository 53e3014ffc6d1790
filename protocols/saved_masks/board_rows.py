"""The rows of a board whose cells all have saved predictions, for commands that measure masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from protocols.saved_masks.masks import Cell, saved_cells
from results.leaderboard.board import Board, LeaderboardRow


def rows_with_masks(
    made: Board, paths: Mapping[str, Path], work: Path, *, partial: bool
) -> tuple[list[tuple[LeaderboardRow, list[Cell]]], list[str]]:
    """Return each such row with the cells of every seed, and a line for each other row that says why.

    Args:
        made: the board.
        paths: canonical JSON of a record -> its file.
        work: the work folder.
        partial: whether a row may lack cells; without it such a row is among the others.
    """
    rows, reasons = [], []
    for line in made.lines:
        cells = saved_cells(work, line, paths, every_seed=True)
        total = sum(len(block.cells) for block in line.row.results)
        if line.row.missing and not partial:
            reasons.append(f"{line.label}: {len(line.row.missing)} cells are missing")
        elif len(cells) < total:
            folder = work / "predictions"
            reasons.append(
                f"{line.label}: {total - len(cells)} of {total} cells have no predictions in {folder}"
            )
        else:
            rows.append((line, cells))
    return rows, reasons
