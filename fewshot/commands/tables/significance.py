"""Compare two methods fold by fold: interval and sign-flip test of all classes, each class, what narrows it.

Examples:
  fewshot significance ssl-alpnet panet --dataset chaost2
  fewshot significance 3fa2 91bc --dataset sabs --measure iou --format json
"""

from __future__ import annotations

import argparse

from fewshot.commands import board, options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("a", metavar="A", help="a method, a label of the leaderboard or a configuration id")
    parser.add_argument("b", metavar="B", help="the other one")
    board.add_board(parser)
    board.add_records(parser)
    options.add_output(parser, ("text", "md", "tex", "json"))


def run(args: argparse.Namespace) -> int:
    """Print the comparison."""
    from results.comparison.significance import compare
    from results.comparison.significance_formats import render_comparison

    records, status = board.read(args)
    made = compare(
        records, args.a, args.b, args.dataset, args.setting, args.protocol, measure=args.measure
    )  # fmt: skip
    options.write_output(render_comparison(made, args.format), args.out)
    return status
