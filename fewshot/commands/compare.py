"""Split the difference of two recorded numbers, B - A, into protocol and method where the records allow it.

A and B are METHOD@PROTOCOL, or the beginning of a configuration's hash as tables print it.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("a", metavar="A", help="one configuration")
    parser.add_argument("b", metavar="B", help="the other")
    parser.add_argument(
        "--records", type=Path, nargs="+", metavar="DIR", help="folders of records (default: WORK/records)"
    )
    parser.add_argument("--dataset", metavar="D", help="only records of this dataset")
    parser.add_argument("--setting", type=int, choices=(1, 2), help="only records of this setting")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")


def run(args: argparse.Namespace) -> int:
    """Print both numbers, their difference and its split."""
    import json

    from results.blocks import blocks
    from results.compare import compare, comparison_text, find_block
    from results.records import read_records

    folders = args.records or [args.work / "records"]
    found = blocks(
        record
        for folder in folders
        for record in read_records(folder)
        if args.dataset in (None, record["dataset"]["name"]) and args.setting in (None, record["setting"])
    )
    result = compare(find_block(found, args.a), find_block(found, args.b), found)
    print(json.dumps(result, indent=1, allow_nan=False) if args.json else comparison_text(result))
    return 0
