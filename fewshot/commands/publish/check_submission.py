"""Check a submission: seals, completeness, published plan, audits, versions, one configuration, method card.

Every refusal is one line, and the exit status is then 1. True pixels are compared with known records of the
same plan. With --out, an accepted submission becomes two files of a folder of records:
DATASET-settingN-ID.jsonl and DATASET-settingN-ID.card.toml.

Examples:
  fewshot check-submission our-net.submission.json
  fewshot check-submission our-net.submission.json --records results/data/h200 --out results/data/submissions
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.commands.publish.submit_result import add_plans
from fewshot.commands.terminal import write_error

if TYPE_CHECKING:
    from protocols.submission.submission_file import Submission


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("submission", type=Path, metavar="FILE", help="file of fewshot submit-result")
    group = parser.add_argument_group("checks")
    group.add_argument(
        "--records", type=Path, nargs="+", default=[], metavar="DIR",
        help="folders of known records, whose true pixels must agree (default: none)",
    )  # fmt: skip
    add_plans(group)
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out", type=Path, metavar="DIR", help="folder that receives accepted records (default: none)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the table of an accepted submission, or the reasons of the refusal; return 1 for the latter."""
    from protocols.submission.published_plans import read_plans
    from protocols.submission.submission_checks import submission_faults
    from protocols.submission.submission_file import read_submission
    from results.records.files import read_records
    from results.tables.fold_tables import render

    submission, faults = read_submission(args.submission)
    if submission is not None:
        known = [record for folder in args.records for record in read_records(folder)]
        faults = [*faults, *submission_faults(submission, read_plans(args.plans), known)]
    for fault in faults:
        write_error(f"refused: {fault}")
    if faults or submission is None:
        write_error(f"{args.submission}: refused for {len(faults)} reasons")
        return 1
    print(render(list(submission.records)))
    if any(record.environment.dirty for record in submission.records):
        print("note: a checkout with changed source files made some of these records")
    print(f"accepted: {args.submission}, {len(submission.records)} records of #{submission.configuration}")
    if args.out is not None:
        for path in write_accepted(submission, args.out):
            print(path)
    return 0


def write_accepted(submission: Submission, folder: Path) -> list[Path]:
    """Write the records and the card of a submission into a folder; return both paths."""
    from fewshot.files.atomic_io import atomic_write, canonical_json
    from fewshot.files.seals import add_seal
    from protocols.submission.method_card import card_text

    first = submission.records[0]
    stem = f"{first.dataset.name}-setting{first.setting}-{submission.configuration}"
    folder.mkdir(parents=True, exist_ok=True)
    records, card = folder / f"{stem}.jsonl", folder / f"{stem}.card.toml"
    ordered = sorted(submission.records, key=lambda record: (record.model.seed, record.fold, record.group))
    with atomic_write(records) as stream:
        stream.write("".join(canonical_json(add_seal(record.to_json())) + "\n" for record in ordered))
    with atomic_write(card) as stream:
        stream.write(card_text(submission.card))
    return [records, card]
