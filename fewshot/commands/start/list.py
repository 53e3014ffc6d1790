"""List what is here, a line each: stores, models, cells, methods, protocols or datasets.

Examples:
  fewshot list cells
  fewshot list models --format json
"""

from __future__ import annotations

import argparse

KINDS = ("stores", "models", "cells", "methods", "protocols", "datasets")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("kind", choices=KINDS, help="what to list")
    parser.add_argument("--format", default="text", choices=("text", "json"), help="default: text")


def run(args: argparse.Namespace) -> int:
    """Print the list."""
    import json

    from protocols.inventory import LISTS
    from results.tables.text_table import render_rows

    rows = LISTS[args.kind](args.work)
    print(json.dumps(rows, indent=1, allow_nan=False) if args.format == "json" else render_rows(rows))
    return 0
