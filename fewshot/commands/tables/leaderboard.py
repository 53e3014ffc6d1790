"""Print the leaderboard of a dataset and setting: intervals over folds, ranks, marks, and published numbers.

Examples:
  fewshot leaderboard --dataset chaost2
  fewshot leaderboard --dataset sabs --setting 2 --format html --out board.html
"""

from __future__ import annotations

import argparse

from fewshot.commands import board, options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    board.add_board_of_records(parser).add_argument(
        "--no-published", action="store_true", help="leave out what papers report"
    )
    options.add_output(parser, ("text", "md", "csv", "tex", "html", "json"))


def run(args: argparse.Namespace) -> int:
    """Print or write the board."""
    from results.leaderboard.board_formats import render_board
    from results.tables.published import read_published

    made, _records, status = board.open_board(args, [] if args.no_published else read_published())
    options.write_output(render_board(made, args.format), args.out)
    return status
