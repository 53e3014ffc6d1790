"""Print the leaderboard of a dataset and setting: intervals, ranks, marks, published numbers beside."""

from __future__ import annotations

import argparse
from pathlib import Path

from fewshot.commands import board


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    board.add_board(parser)
    board.add_records(parser)
    parser.add_argument(
        "--format", default="text", metavar="F", help="text, md, csv, tex, html or json (default: text)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it there instead of printing it")
    parser.add_argument("--no-published", action="store_true", help="leave out what papers report")


def run(args: argparse.Namespace) -> int:
    """Print or write the board."""
    from fewshot.base.atomic_io import atomic_write
    from results.leaderboard.board import leaderboard
    from results.leaderboard.board_formats import render_board
    from results.tables.published import read_published

    records, status = board.read(args)
    made = leaderboard(
        records, args.dataset, args.setting, args.protocol, measure=args.measure,
        published=[] if args.no_published else read_published(),
    )  # fmt: skip
    text = render_board(made, args.format)
    if args.out is None:
        print(text)
    else:
        with atomic_write(args.out) as stream:
            stream.write(text + "\n")
        print(args.out)
    return status
