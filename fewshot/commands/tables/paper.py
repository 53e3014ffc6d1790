"""Print the tables of a paper in its own layout: with what is measured here, or as published.

The layout is the `paper_layout` of the paper's method; METHOD may be a file of your own, file.py:Class.
"""

from __future__ import annotations

import argparse

from fewshot.commands import board


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "paper", metavar="METHOD", help="a method that has a paper layout: densemp, dspnet, or file.py:Class"
    )
    parser.add_argument(
        "--published", action="store_true", help="what the paper prints, not what is measured"
    )
    parser.add_argument(
        "--protocol", metavar="P", help="a protocol of the records (default: alpnet-ep1, or the only one)"
    )
    board.add_records(parser)
    parser.add_argument("--format", default="text", metavar="F", help="text or md (default: text)")


def run(args: argparse.Namespace) -> int:
    """Print the tables."""
    from fewshot.studies.offers import paper_layout_of
    from results.leaderboard.paper_tables import (
        NOT_MEASURED,
        NOT_PRINTED,
        measured_cells,
        published_cells,
        render_paper,
    )
    from results.tables.published import read_published

    layout = paper_layout_of(args.paper)
    if args.published:
        notes = ["as printed there; fewshot published tells caveats and marks"]
        cells = published_cells(layout, read_published())
        print(render_paper(layout, cells, NOT_PRINTED, notes, args.format))
        return 0
    records, status = board.read(args)
    cells, notes = measured_cells(layout, records, args.protocol)
    print(render_paper(layout, cells, NOT_MEASURED, notes, args.format))
    return status
