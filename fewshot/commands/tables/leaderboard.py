"""Print the leaderboard of a dataset and setting: intervals over folds, ranks, marks, and published numbers.

Where predictions are saved, columns hold HD95, surface Dice and the number of cells that have them. The first
call measures them into WORK/distances, which takes time; later calls read them.

Examples:
  fewshot leaderboard --dataset chaost2
  fewshot leaderboard --dataset sabs --setting 2 --format html --out board.html
"""

from __future__ import annotations

import argparse

from fewshot.commands import board, board_distances, options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    group = board.add_board_of_records(parser)
    group.add_argument("--no-published", action="store_true", help="leave out what papers report")
    board_distances.add_distances(group)
    options.add_output(parser, ("text", "md", "csv", "tex", "html", "json"))


def run(args: argparse.Namespace) -> int:
    """Print or write the board."""
    from results.leaderboard.board_formats import render_board
    from results.tables.published import read_published

    made, records, status = board.open_board(args, [] if args.no_published else read_published())
    made = board_distances.with_distances(args, made, records.paths)
    options.write_output(render_board(made, args.format), args.out)
    return status
