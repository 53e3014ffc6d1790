"""Print the tables of a paper in its own layout, with the numbers measured here or the published ones.

The layout is the `paper_layout` of the paper's method; METHOD may be a file of your own, file.py:Class.

Examples:
  fewshot paper dspnet
  fewshot paper densemp --published --format md --out densemp.md
"""

from __future__ import annotations

import argparse

from fewshot.commands import board, options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "paper", metavar="METHOD", help="a method that has a paper layout: densemp, dspnet, or file.py:Class"
    )
    group = board.add_records(parser)
    group.add_argument(
        "--protocol", metavar="P", help="a protocol of the records (default: alpnet-ep1, or the only one)"
    )
    group.add_argument(
        "--published", action="store_true", help="print the paper's numbers in place of the measured ones"
    )
    options.add_names(group)
    options.add_output(parser, ("text", "md", "tex"))


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
    names = options.parse_names(args.names)
    if args.published:
        notes = ["as printed there; fewshot published lists caveats and marks"]
        cells = published_cells(layout, read_published())
        text = render_paper(layout, cells, NOT_PRINTED, notes, args.format, names)
        options.write_output(text, args.out)
        return 0
    records, status = board.read(args)
    cells, notes = measured_cells(layout, records, args.protocol)
    options.write_output(render_paper(layout, cells, NOT_MEASURED, notes, args.format, names), args.out)
    return status
