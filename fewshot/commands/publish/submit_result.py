"""Pack the records of one configuration and its method card into one file for the leaderboard.

First write the card with --write-card, which fills in what the records hold. Fill in its other lines, then
pack. The command checks what `fewshot check-submission` checks and writes nothing if something is refused.

Examples:
  fewshot submit-result 3f2a90bc --write-card --out card.toml
  fewshot submit-result 3f2a90bc --card card.toml --out our-net.submission.json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.base.errors import UserError, listed
from fewshot.commands import board
from fewshot.commands.terminal import write_error

if TYPE_CHECKING:
    from results.records.record import Record


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "result", metavar="RESULT", help="configuration id of the tables (4 digits or more), or a method"
    )
    board.add_record_folders(parser)
    group = parser.add_argument_group("submission")
    group.add_argument("--card", type=Path, metavar="FILE", help="the filled method card (TOML)")
    group.add_argument("--write-card", action="store_true", help="write a method card to fill in, and stop")
    add_plans(group)
    group.add_argument(
        "--out", type=Path, metavar="FILE", help="the file to write (default: RESULT.submission.json)"
    )


def add_plans(group: argparse._ArgumentGroup) -> None:
    """Add `--plans`, folders of plan files beside the shipped ones."""
    group.add_argument(
        "--plans", type=Path, nargs="+", default=[], metavar="DIR",
        help="more folders of plan files, for datasets and protocols without a shipped plan",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Write the card or the submission; return 1 if a check refuses it."""
    from fewshot.files.atomic_io import atomic_write
    from protocols.submission.method_card import card_template, read_card
    from protocols.submission.published_plans import read_plans
    from protocols.submission.submission_checks import submission_faults
    from protocols.submission.submission_file import Submission, write_submission
    from results.records.configuration import configuration_id
    from results.records.files import read_records

    folders = args.records or [args.work / "records"]
    records = _records_of(args.result, [record for folder in folders for record in read_records(folder)])
    name = configuration_id(records[0])
    if args.write_card:
        out = args.out or Path(f"{name}.card.toml")
        with atomic_write(out) as stream:
            stream.write(card_template(records[0]) + "\n")
        print(out)
        return 0
    if args.card is None:
        raise UserError("--card is missing, expected the filled method card; begin one with --write-card")
    card = read_card(args.card)
    faults = submission_faults(Submission(name, "", card, tuple(records)), read_plans(args.plans))
    for fault in faults:
        write_error(f"refused: {fault}")
    if faults:
        write_error(f"{len(faults)} faults, nothing written")
        return 1
    out = args.out or Path(f"{name}.submission.json")
    write_submission(out, records, card)
    print(f"{out}: {len(records)} records of configuration #{name}")
    return 0


def _records_of(text: str, records: list[Record]) -> list[Record]:
    """Return the records of the one configuration that a text names."""
    from results.records.configuration import configuration_id, is_configuration_named

    found = [record for record in records if is_configuration_named(text, record)]
    ids = {configuration_id(record): record for record in found}
    if len(ids) != 1:
        names = "; ".join(
            f"#{name} {record.method.name} on {record.dataset.name}, setting {record.setting}"
            for name, record in sorted(ids.items())
        )
        raise UserError(
            f"{text} names {len(ids)} configurations{': ' if names else ''}{names}; give one of: "
            f"{listed(sorted({configuration_id(record) for record in records})) or 'no records'}"
        )
    return found
