"""Options that select records, and the functions that read them and leave out invalid ones."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.commands.terminal import write_error

if TYPE_CHECKING:
    from argparse import _ArgumentGroup as ArgumentGroup

    from results.leaderboard.board import Board
    from results.records.record import Record
    from results.summary.screening import ScreenedRecords
    from results.tables.published import PublishedRow


def add_record_folders(parser: argparse.ArgumentParser) -> ArgumentGroup:
    """Add where records lie."""
    group = parser.add_argument_group("records")
    group.add_argument(
        "--records", type=Path, nargs="+", metavar="DIR", help="folders of records (default: WORK/records)"
    )
    return group


def add_records(parser: argparse.ArgumentParser) -> ArgumentGroup:
    """Add where records lie and what to do about invalid ones."""
    group = add_record_folders(parser)
    group.add_argument(
        "--skip-invalid", action="store_true", help="exit with 0 although invalid records were left out"
    )
    return group


def add_board(parser: argparse.ArgumentParser, *, measures: bool = True) -> ArgumentGroup:
    """Add the options that select a board: dataset, setting, protocol and, with `measures`, the measure."""
    group = parser.add_argument_group("board")
    group.add_argument("--dataset", required=True, metavar="D", help="a dataset of the records")
    group.add_argument("--setting", type=int, choices=(1, 2), default=1, help="setting of the records")
    group.add_argument(
        "--protocol", metavar="P", help="a protocol of the records (default: alpnet-ep1, or the only one)"
    )
    if measures:
        group.add_argument(
            "--measure",
            default="dice",
            choices=("dice", "iou", "precision", "recall"),
            help="what to compare",
        )
    return group


def add_board_of_records(parser: argparse.ArgumentParser) -> ArgumentGroup:
    """Add the options of a command that ranks methods; return the group that selects the board."""
    group = add_board(parser)
    add_records(parser)
    return group


def open_board(
    args: argparse.Namespace, published: Sequence[PublishedRow] = ()
) -> tuple[Board, ScreenedRecords, int]:
    """Return the board that the options select, the screened records and the exit status.

    Args:
        args: parsed options of `add_board_of_records`.
        published: published rows to show beside the records.

    Raises:
        UserError: as `results.leaderboard.board.leaderboard`.
    """
    from results.leaderboard.board import leaderboard

    records, status = screened(args)
    made = leaderboard(
        records.records, args.dataset, args.setting, args.protocol, measure=args.measure, published=published
    )
    return made, records, status


def read(args: argparse.Namespace) -> tuple[tuple[Record, ...], int]:
    """Return the valid records and the exit status: 1 if any was invalid without --skip-invalid."""
    valid, status = screened(args)
    return valid.records, status


def screened(args: argparse.Namespace) -> tuple[ScreenedRecords, int]:
    """Return the screened records with their files, and the exit status; print invalid ones to stderr."""
    from results.summary.screening import screen_records

    records = screen_records(args.records or [args.work / "records"])
    for fault in records.faults:
        write_error(f"left out: {fault}")
    if records.faults and not args.skip_invalid:
        write_error(f"{len(records.faults)} bad records left out, exit status 1; --skip-invalid accepts that")
    return records, int(bool(records.faults) and not args.skip_invalid)
