"""Arguments and reading that the commands over records share: which records, and what of bad ones."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from results.records.record import Record
    from results.summary.screening import ScreenedRecords


def add_records(parser: argparse.ArgumentParser) -> None:
    """Add where records lie and what to do about bad ones."""
    parser.add_argument(
        "--records", type=Path, nargs="+", metavar="DIR", help="folders of records (default: WORK/records)"
    )
    parser.add_argument(
        "--skip-invalid", action="store_true", help="exit with 0 though bad records were named and left out"
    )


def add_board(parser: argparse.ArgumentParser, *, measures: bool = True) -> None:
    """Add which board: dataset, setting, protocol, measure."""
    parser.add_argument("--dataset", required=True, metavar="D", help="a dataset of the records")
    parser.add_argument("--setting", type=int, choices=(1, 2), default=1, help="default: 1")
    parser.add_argument(
        "--protocol", metavar="P", help="a protocol of the records (default: alpnet-ep1, or the only one)"
    )
    if measures:
        parser.add_argument(
            "--measure", default="dice", metavar="M", help="dice, iou, precision or recall (default: dice)"
        )


def read(args: argparse.Namespace) -> tuple[tuple[Record, ...], int]:
    """Return the sound records and the exit status: 1 where bad ones were left out without leave."""
    found, status = screened(args)
    return found.records, status


def screened(args: argparse.Namespace) -> tuple[ScreenedRecords, int]:
    """Return the screened records with their files, and the exit status; bad ones are named on stderr."""
    from results.summary.screening import screen_records

    found = screen_records(args.records or [args.work / "records"])
    for fault in found.faults:
        sys.stderr.write(f"left out: {fault}\n")
    if found.faults and not args.skip_invalid:
        sys.stderr.write(
            f"{len(found.faults)} bad records left out, exit status 1; --skip-invalid accepts that\n"
        )
    return found, int(bool(found.faults) and not args.skip_invalid)
