"""Measure surface distances of recorded cells from their saved predictions and the store, in millimetres.

WORK/distances keeps the measures of each cell; a second call reads them and measures the missing cells. Each
table names its convention, because libraries differ (docs/distances.md).

Examples:
  fewshot distances --dataset chaost2
  fewshot distances --dataset chaost2 --setting 2 --tolerance-mm 3 --format md --out distances.md
"""

from __future__ import annotations

import argparse

from fewshot.base.errors import UserError
from fewshot.commands import board as shared_board
from fewshot.commands import board_distances, options, shared
from fewshot.commands.terminal import write_error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    board_distances.add_tolerance(shared_board.add_board(parser, measures=False))
    shared_board.add_records(parser)
    options.add_output(parser, ("text", "md", "tex"))


def run(args: argparse.Namespace) -> int:
    """Measure every cell with predictions into WORK/distances/<cell>.json; print the tables."""
    from protocols.saved_masks.board_rows import rows_with_masks
    from protocols.saved_masks.distances import measure_cells
    from protocols.saved_masks.masks import check_store
    from results.leaderboard.board import leaderboard
    from results.tables.distance_tables import render_distances

    board_distances.check_tolerance(args)
    screened, status = shared_board.screened(args)
    made = leaderboard(screened.records, args.dataset, args.setting, args.protocol)
    store = shared.open_store(args.work, made.record.dataset.name)
    check_store(store, made)
    rows = []
    found, reasons = rows_with_masks(made, screened.paths, args.work, partial=False)
    for reason in reasons:
        write_error(f"not measured: {reason}")
    for line, cells in found:
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
