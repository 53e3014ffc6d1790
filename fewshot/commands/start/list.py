"""List stores, models, cells, methods, recipes, protocols or datasets, a line each.

Examples:
  fewshot list cells
  fewshot list models --format json
"""

from __future__ import annotations

import argparse

from fewshot.commands import options

KINDS = ("stores", "models", "cells", "methods", "recipes", "protocols", "datasets")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    options.add_output(parser, ("text", "json"))


def run(args: argparse.Namespace) -> int:
    """Print the list."""
    import json

    from protocols.runs.inventory import LISTS
    from results.tables.text_table import render_rows

    rows = LISTS[args.kind](args.work)
    text = json.dumps(rows, indent=1, allow_nan=False) if args.format == "json" else render_rows(rows)
    options.write_output(text, args.out)
    return 0
