"""Print the leaderboard of a dataset and setting: intervals over folds, ranks, marks, and published numbers.

Where predictions are saved, columns hold HD95, surface Dice and the number of cells that have them. The first
call measures them into WORK/distances, which takes time; later calls read them.

Examples:
  fewshot leaderboard --dataset chaost2
  fewshot leaderboard --dataset sabs --setting 2 --format html --out board.html
  fewshot leaderboard --dataset chaost2 --format tex --names ssl-alpnet=SSL-ALPNet --out board.tex
"""

from __future__ import annotations

import argparse

from fewshot.commands import board, board_distances, options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    group = board.add_board_of_records(parser)
    group.add_argument("--no-published", action="store_true", help="leave out what papers report")
    group.add_argument(
        "--paper", action="store_true",
        help="short labels, mean ± deviation in every cell, best in bold; always so in tex (text, md, tex)",
    )  # fmt: skip
    options.add_names(group)
    board_distances.add_distances(group)
    options.add_output(parser, ("text", "md", "csv", "tex", "html", "json"))


def run(args: argparse.Namespace) -> int:
    """Print or write the board."""
    from results.leaderboard.board_formats import render_board, render_paper_board
    from results.leaderboard.paper_board import with_names
    from results.tables.published import read_published

    made, records, status = board.open_board(args, [] if args.no_published else read_published())
    made = board_distances.with_distances(args, made, records.paths)
    made = with_names(made, options.parse_names(args.names))
    text = render_paper_board(made, args.format) if args.paper else render_board(made, args.format)
    options.write_output(text, args.out)
    return status
