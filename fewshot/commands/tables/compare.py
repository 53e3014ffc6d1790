"""Split the difference of two recorded numbers, B - A, into protocol and method where the records allow it.

A and B are METHOD@PROTOCOL, or the beginning of a configuration's id as tables print it.
Seeds are averaged per scan, as the leaderboard averages them.
"""

from __future__ import annotations

import argparse
import sys
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
    parser.add_argument(
        "--seed", type=int, metavar="N", help="only records of this seed (default: mean of all)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")


def run(args: argparse.Namespace) -> int:
    """Print both numbers, their difference and its split."""
    import json

    from results.comparison.decomposition import compare, comparison_text, find_row
    from results.records.files import read_records
    from results.summary.configuration_result import configuration_results
    from results.summary.seed_average import seed_rows

    folders = args.records or [args.work / "records"]
    records = (
        record
        for folder in folders
        for record in read_records(folder)
        if args.dataset in (None, record.dataset.name) and args.setting in (None, record.setting)
        if args.seed in (None, record.model.seed)
    )
    rows, left_out = seed_rows(configuration_results(records))
    result = compare(find_row(rows, args.a), find_row(rows, args.b), rows)
    for reason in left_out:
        sys.stderr.write(f"left out: {reason}\n")
    print(json.dumps(result, indent=1, allow_nan=False) if args.json else comparison_text(result))
    return 0
