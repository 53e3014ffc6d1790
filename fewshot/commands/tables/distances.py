"""Measure surface distances of recorded cells from their saved predictions and the store, in millimetres.

WORK/distances keeps the measures of each cell; a second call reads them and measures the missing cells. Each
table names its convention, because libraries differ (docs/distances.md).

Examples:
  fewshot distances --dataset chaost2
  fewshot distances --dataset chaost2 --setting 2 --tolerance-mm 3 --format md --out distances.md
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fewshot.base.errors import UserError
from fewshot.commands import board as shared_board
from fewshot.commands import board_distances, options, shared
from fewshot.commands.terminal import write_error

if TYPE_CHECKING:
    from pathlib import Path

    from results.leaderboard.board import LeaderboardRow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    board_distances.add_tolerance(shared_board.add_board(parser, measures=False))
    shared_board.add_records(parser)
    options.add_output(parser, ("text", "md", "tex"))


def run(args: argparse.Namespace) -> int:
    """Measure every cell with predictions into WORK/distances/<cell>.json; print the tables."""
    from protocols.saved_masks.distances import measure_cells
    from protocols.saved_masks.masks import check_store, saved_cells
    from results.leaderboard.board import leaderboard
    from results.tables.distance_tables import render_distances

    board_distances.check_tolerance(args)
    screened, status = shared_board.screened(args)
    made = leaderboard(screened.records, args.dataset, args.setting, args.protocol)
    store = shared.open_store(args.work, made.record.dataset.name)
    check_store(store, made)
    rows = []
    for line in made.lines:
        cells = saved_cells(args.work, line, screened.paths, every_seed=True)
        total = sum(len(block.cells) for block in line.row.results)
        if len(cells) < total or line.row.missing:
            write_error(f"not measured: {_reason(line, len(cells), total, args.work)}")
            continue
        scores, faults = measure_cells(line.label, cells, store, args.work, args.tolerance_mm)
        for fault in faults:
            write_error(f"not measured: {fault}")
        if not faults:
            rows.append((line.label, line.row, scores))
    if not rows:
        raise UserError("no method has all cells and their predictions; run with --save-predictions")
    notes = [f"left out: {reason}" for reason in made.left_out]
    options.write_output(render_distances(made.record, rows, args.tolerance_mm, notes, args.format), args.out)
    return status


def _reason(row: LeaderboardRow, saved: int, total: int, work: Path) -> str:
    if row.row.missing:
        return f"{row.label}: {len(row.row.missing)} cells are missing"
    return f"{row.label}: {total - saved} of {total} cells have no predictions in {work / 'predictions'}"
