"""Describe the installation and the work folder; with --verify, check every file of the work folder.

--verify reads stores, models, backbones, records, predictions and distances whole, compares them with their
hashes and with each other, and prints one line a fault; the status is 2 if there is one. --seal is for a work
folder, or a folder of records, that an earlier version of this program wrote: it checks what can be checked,
and writes the hashes that are missing.

Examples:
  fewshot doctor
  fewshot doctor --verify
  fewshot doctor --seal --records results/data/real
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocols.verification.work_folder import Check


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    group = parser.add_argument_group("files")
    group.add_argument("--verify", action="store_true", help="check every file of the work folder")
    group.add_argument(
        "--seal", action="store_true", help="add missing hashes to files of an earlier version"
    )
    group.add_argument(
        "--records", type=Path, metavar="DIR", help="with --seal: folder of records (default: WORK/records)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the facts, or check or seal every file; return 2 if there is a fault."""
    from protocols.verification.installation import describe_installation
    from protocols.verification.older_files import list_seals
    from protocols.verification.work_folder import list_checks

    if args.seal:
        status = _run_checks(list_seals(args.work, args.records or args.work / "records"), "sealing")
        if status or not args.verify:
            return status
    if args.verify:
        return _run_checks(list_checks(args.work), "checking")
    for line in describe_installation(args.work):
        print(line)
    return 0


def _run_checks(checks: list[Check], title: str) -> int:
    from fewshot.base.progress import progress
    from protocols.verification.work_folder import run_checks

    with progress(len(checks), title, "file") as bar:
        verification = run_checks(checks, bar.update)
    for line in verification.faults:
        print(f"fault: {' '.join(line.split())}")
    for line in verification.unchecked:
        print(f"not checked: {' '.join(line.split())}")
    print(
        f"{title}: {verification.passed} of {len(checks)} sound, {len(verification.faults)} faults, "
        f"{len(verification.unchecked)} not checked"
    )
    return 2 if verification.faults else 0
