"""Split the difference of two recorded numbers, B - A, into protocol and method where the records allow it.

A and B are METHOD@PROTOCOL, or the beginning of a configuration id as tables print it. Seeds are averaged per
scan, as the leaderboard averages them.

Examples:
  fewshot compare panet@alpnet-ep1 panet@open-ep --dataset chaost2
  fewshot compare ssl-alpnet@alpnet-ep1 qnet@qnet-ep1 --format json
"""

from __future__ import annotations

import argparse

from fewshot.commands import board, options
from fewshot.commands.terminal import write_error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("a", metavar="A", help="one configuration")
    parser.add_argument("b", metavar="B", help="the other one")
    group = board.add_record_folders(parser)
    group.add_argument("--dataset", metavar="D", help="only records of this dataset")
    group.add_argument("--setting", type=int, choices=(1, 2), help="only records of this setting")
    group.add_argument(
        "--seed", type=int, metavar="N", help="only records of this training seed (default: mean of all)"
    )
    options.add_output(parser, ("text", "json"))


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
        write_error(f"left out: {reason}")
    as_json = args.format == "json"
    text = json.dumps(result, indent=1, allow_nan=False) if as_json else comparison_text(result)
    options.write_output(text, args.out)
    return 0
