"""Remake a record from its own content, and say whether its numbers are equal.

The record gives dataset, protocol, method, options, recipe, seed, checkpoint policy and threads. The command
trains and evaluates the cell again and prints each number and each condition that differs: protocol, data,
pseudo-labels, method version, shared parts, weights, libraries, threads, processor, device. The status is 1
if a number differs.

Examples:
  fewshot reproduce work/records/3fa2c0d1e5b60718-90ab12cd34ef5678.json
  fewshot reproduce results/data/phantoms/phantom-mri-setting1-adnet.jsonl --cell 3fa2c0d1
  fewshot reproduce results/data/real/chaost2-setting1-panet.jsonl:4 --out remade
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.base.errors import UserError
from fewshot.commands import options, shared

if TYPE_CHECKING:
    from results.records.record import Record


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "record", metavar="RECORD", help="a .json file, a .jsonl file with --cell, or FILE.jsonl:LINE"
    )
    group = parser.add_argument_group("record")
    group.add_argument("--cell", metavar="KEY", help="beginning of the key of one record of a .jsonl file")
    group.add_argument("--method", metavar="M", help="file and class of a user's own method, FILE.py:CLASS")
    group.add_argument(
        "--weights", metavar="W", help="the file that the training began from, {fold} filled in"
    )
    group.add_argument("--protocol", metavar="P", help="file of a protocol (default: the shipped one)")
    options.add_option(group, "place of a file that an option of the method names")
    group = options.add_device(parser)
    group.add_argument(
        "--out", type=Path, metavar="DIR",
        help="keep the second run in this work folder, where a stopped one continues (default: a temporary "
        "one)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Remake the record; print the differences."""
    from protocols.runs.reproduction import Typed, cell_text, check_remakable, remake
    from results.records.record_diff import compare_records

    record = _read(args.record, args.cell)
    check_remakable(record)
    if args.out is not None and args.out.resolve() == args.work.resolve():
        raise UserError(f"--out {args.out} is the work folder, whose records would be replaced; give another")
    device = shared.choose_device("cpu" if record.environment.device == "cpu" else args.device)
    files = shared.parse_options(args.option)
    typed = Typed(args.method, args.weights, files, args.protocol)
    with tempfile.TemporaryDirectory(prefix="fewshot-reproduce-") as temporary:
        out = args.out or Path(temporary)
        remade = remake(
            record, typed, args.work, out, device, lambda name: shared.open_store(args.work, name)
        )
    difference = compare_records(record, remade)
    print(f"record   {cell_text(record)}")
    if difference.is_equal:
        print(f"equal    all {len(record.scores)} scores")
    for line in difference.numbers:
        print(f"unequal  {line}")
    for line in difference.conditions:
        print(f"differs  {line}")
    return 0 if difference.is_equal else 1


def _read(text: str, cell: str | None) -> Record:
    """Return the one record that the user names."""
    from results.records.files import parse_record, read_record, record_texts

    name, colon, line = text.rpartition(":")
    has_line = bool(colon) and line.isdecimal() and name.endswith(".jsonl")
    path = Path(name if has_line else text)
    if path.suffix not in (".json", ".jsonl"):
        raise UserError(f"{text}: expected a record, a .json or .jsonl file")
    if path.suffix == ".json":
        if cell is not None:
            raise UserError(f"--cell {cell}: {path} holds one record; leave --cell out")
        return read_record(path)
    if has_line and cell is not None:
        raise UserError(f"--cell {cell}: {text} names a line; give one of the two")
    found = []
    for record_text in record_texts(path):
        if has_line and record_text.source != f"{path}:{int(line)}":
            continue
        record = parse_record(record_text)
        if cell is None or (record.key or "").startswith(cell):
            found.append(record)
    if len(found) != 1:
        what = f"line {line}" if has_line else f"cell {cell}" if cell is not None else "choice of a record"
        raise UserError(
            f"{path} holds {len(found)} records of {what}, expected exactly one; give --cell KEY, or "
            f"{path}:LINE for records without keys"
        )
    return found[0]
