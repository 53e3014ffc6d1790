"""Print the tables of a paper in its own layout: with what is measured here, or as published."""

from __future__ import annotations

import argparse

from fewshot.commands import board


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("paper", metavar="PAPER", help="densemp or dspnet")
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
    from results.paper_tables import (
        NOT_MEASURED,
        NOT_PRINTED,
        layout_of,
        measured_cells,
        published_cells,
        render_paper,
    )  # fmt: skip
    from results.published import read_published

    layout = layout_of(args.paper)
    if args.published:
        notes = ["as printed there; fewshot published tells caveats and marks"]
        cells = published_cells(layout, read_published())
        print(render_paper(layout, cells, NOT_PRINTED, notes, args.format))
        return 0
    records, status = board.read(args)
    cells, notes = measured_cells(layout, records, args.protocol)
    print(render_paper(layout, cells, NOT_MEASURED, notes, args.format))
    return status
