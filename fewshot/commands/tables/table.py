"""Rebuild fold tables and their comparison from records alone."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from results.records.record import Record

FILTERS = ("dataset", "method", "protocol")  # parts of a record, chosen by name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--records", type=Path, nargs="+", metavar="DIR", help="folders of records (default: WORK/records)"
    )
    for name in FILTERS:
        parser.add_argument(f"--{name}", metavar=name[0].upper(), help=f"only records of this {name}")
    parser.add_argument(
        "--configuration",
        metavar="ID",
        help="only records whose configuration id begins so (4 digits or more)",
    )
    parser.add_argument("--setting", type=int, choices=(1, 2), help="only records of this setting")
    parser.add_argument("--seed", type=int, metavar="N", help="only records of this seed")
    parser.add_argument("--steps", type=int, metavar="N", help="only records of models trained for N steps")
    parser.add_argument("--format", default="text", choices=("text", "md", "csv"), help="default: text")


def run(args: argparse.Namespace) -> int:
    """Print the tables of the records that the filters leave."""
    from fewshot.base.errors import UserError, unknown_name
    from results.records.files import read_records
    from results.tables.fold_tables import render

    folders = args.records or [args.work / "records"]
    records = [record for folder in folders for record in read_records(folder)]
    if not records:
        places = ", ".join(map(str, folders))
        raise UserError(f"no records in {places}; run `fewshot run` first or give --records DIR")
    for name in FILTERS:
        wanted = getattr(args, name)
        known = {getattr(record, name).name for record in records}
        if wanted is not None and wanted not in known:
            raise unknown_name(f"{name} of the records", wanted, known)
    kept = [record for record in records if _wanted(record, args)]
    if not kept:
        raise UserError(f"none of {len(records)} records fits all filters; leave one out")
    print(render(kept, args.format))
    return 0


def _wanted(record: Record, args: argparse.Namespace) -> bool:
    from results.records.configuration import is_configuration_named

    if args.configuration is not None and not is_configuration_named(args.configuration, record):
        return False
    pairs = [(getattr(args, name), getattr(record, name).name) for name in FILTERS]
    pairs += [(args.setting, record.setting)]
    pairs += [(args.seed, record.model.seed), (args.steps, record.model.steps)]
    return all(wanted is None or wanted == found for wanted, found in pairs)
