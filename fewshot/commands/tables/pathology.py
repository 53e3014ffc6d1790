"""Score normal myocardium, scar, edema, scar or edema, and whole myocardium, from saved predictions.

Dice and HD95 stand under the rule for empty masks of the release of I-MMSeg and under the honest one
(docs/immseg.md).

Examples:
  fewshot pathology --dataset phantom-pathology
  fewshot pathology --dataset myops380 --out regions.txt
"""

from __future__ import annotations

import argparse

from fewshot.base.errors import UserError
from fewshot.commands import board as shared_board
from fewshot.commands import options, shared
from fewshot.commands.terminal import write_error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    shared_board.add_board(parser, measures=False)
    shared_board.add_records(parser)
    options.add_output(parser, ("text",))


def run(args: argparse.Namespace) -> int:
    """Print a block of five regions for each row of the board whose cells have saved predictions."""
    from protocols.saved_masks.board_rows import rows_with_masks
    from protocols.saved_masks.masks import check_store
    from protocols.saved_masks.regions import check_pathology, region_scores
    from results.comparison.region_table import region_table
    from results.leaderboard.board import leaderboard

    screened, status = shared_board.screened(args)
    made = leaderboard(screened.records, args.dataset, args.setting, args.protocol)
    store = shared.open_store(args.work, made.record.dataset.name)
    check_store(store, made)
    check_pathology(store)
    rows = []
    found, reasons = rows_with_masks(made, screened.paths, args.work, partial=True)
    for reason in reasons:
        write_error(f"not measured: {reason}")
    for line, cells in found:
        marks = f", {len(line.row.missing)} cells missing" if line.row.missing else ""
        label = f"{line.label} #{line.row.configuration_id} ({len(cells)} cells{marks})"
        rows.append((label, region_scores(line.label, cells, store)))
    if not rows:
        raise UserError("no method has predictions of all its cells; run with --save-predictions")
    options.write_output(region_table(rows), args.out)
    return status
