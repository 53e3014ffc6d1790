"""Rebuild fold tables and their comparison from records alone.

Format scans is CSV with a line per class, query scan and support set: counts, and Dice from 0 to 1. Format
tex is LaTeX that fits a column.

Examples:
  fewshot table --dataset chaost2 --setting 2
  fewshot table --method panet --format csv --out panet.csv
  fewshot table --dataset chaost2 --format scans --out scans.csv
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fewshot.commands import board, options

if TYPE_CHECKING:
    from results.records.record import Record

FILTERS = ("dataset", "method", "protocol")  # parts of a record, chosen by name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    group = board.add_record_folders(parser)
    for name in FILTERS:
        group.add_argument(f"--{name}", metavar=name[0].upper(), help=f"only records of this {name}")
    group.add_argument(
        "--configuration",
        metavar="ID",
        help="only records whose configuration id begins with ID (4 digits or more)",
    )
    group.add_argument("--setting", type=int, choices=(1, 2), help="only records of this setting")
    group.add_argument("--seed", type=int, metavar="N", help="only records of this training seed")
    group.add_argument("--steps", type=int, metavar="N", help="only records of models trained for N steps")
    options.add_names(group)
    options.add_output(parser, ("text", "md", "csv", "tex", "scans"))


def run(args: argparse.Namespace) -> int:
    """Print the tables of the records that fit the filters."""
    from fewshot.base.errors import UserError, unknown_name
    from results.records.files import read_records
    from results.tables.fold_tables import render

    folders = args.records or [args.work / "records"]
    records = [record for folder in folders for record in read_records(folder)]
    if not records:
        places = ", ".join(map(str, folders))
        raise UserError(f"no records in {places}; run `fewshot run` first or give --records DIR")
    for name in FILTERS:
        typed = getattr(args, name)
        known = {getattr(record, name).name for record in records}
        if typed is not None and typed not in known:
            raise unknown_name(f"{name} of the records", typed, known)
    kept = [record for record in records if _fits(record, args)]
    if not kept:
        raise UserError(f"none of {len(records)} records fits all filters; leave one out")
    names = options.parse_names(args.names)
    for old in names:
        if old not in {record.method.name for record in kept}:
            raise unknown_name("method of the records", old, {record.method.name for record in kept})
    options.write_output(render(kept, args.format, names), args.out)
    return 0


def _fits(record: Record, args: argparse.Namespace) -> bool:
    from results.records.configuration import is_configuration_named

    if args.configuration is not None and not is_configuration_named(args.configuration, record):
        return False
    pairs = [(getattr(args, name), getattr(record, name).name) for name in FILTERS]
    pairs += [(args.setting, record.setting)]
    pairs += [(args.seed, record.model.seed), (args.steps, record.model.steps)]
    return all(typed is None or typed == value for typed, value in pairs)
