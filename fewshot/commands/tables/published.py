"""List the Dice that papers report, with source and caveat, and mark the numbers that cannot be right.

Examples:
  fewshot published --dataset sabs --setting 1
  fewshot published --marked
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fewshot.base.errors import UserError, unknown_name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    group = parser.add_argument_group("rows")
    group.add_argument("--dataset", metavar="D", help="only rows of this dataset (default: all)")
    group.add_argument(
        "--setting", type=int, choices=(1, 2), help="only rows of this setting (default: both)"
    )
    group.add_argument("--marked", action="store_true", help="only rows that the check marks")
    group.add_argument(
        "--file", type=Path, metavar="CSV", help="a file of the same columns (default: the shipped one)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the rows and their marks."""
    from results.tables.published import KINDS, PUBLISHED, name_of, read_published

    rows = read_published(args.file or PUBLISHED)
    known = {row.dataset for row in rows}
    if args.dataset is not None and args.dataset not in known:
        raise unknown_name("dataset of the published rows", args.dataset, known)
    kept = [
        row
        for row in rows
        if args.dataset in (None, row.dataset)
        and args.setting in (None, row.setting)
        and (row.marks or not args.marked)
    ]
    if not kept:
        raise UserError(f"none of {len(rows)} published rows fits all filters; leave one out")
    for row in kept:
        print(f"{name_of(row)}, {KINDS[row.kind]}")
        classes = "  ".join(f"{name} {dice:.2f}" for name, dice in row.dice.items())
        print(f"  {classes}  mean {row.mean:.2f}")
        print(f"  protocol {row.protocol or 'not known'}; {row.source_url}")
        for line in [*([row.caveat] if row.caveat else []), *(f"MARKED: {mark}" for mark in row.marks)]:
            print(f"  {line}")
    print(f"{len(kept)} rows, {sum(bool(row.marks) for row in kept)} of them marked")
    return 0
