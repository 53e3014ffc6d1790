"""Draw support, query, truth and prediction of a recorded cell: its best, median and worst scan.

Examples:
  fewshot overlay 3fa2c0d1
  fewshot overlay 3fa2c0d1 --out cell.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fewshot.base.errors import UserError
from fewshot.commands import shared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("cell", metavar="CELL", help="beginning of a key under WORK/records")
    group = parser.add_argument_group("picture")
    group.add_argument("--out", type=Path, metavar="FILE", help="PNG (default: WORK/figures/<key>.png)")


def run(args: argparse.Namespace) -> int:
    """Draw the picture and print its path."""
    from fewshot.files.names import checked_name
    from protocols.saved_masks.cell_overlay import draw_cell

    files = sorted((args.work / "records").glob(f"{checked_name('cell', args.cell)}*.json"))
    if len(files) != 1:
        names = ", ".join(path.stem for path in files[:5]) or "no key"
        raise UserError(
            f"cell {args.cell!r}: {names} under {args.work / 'records'}; expected exactly one key; "
            "see fewshot list cells"
        )
    print(draw_cell(args.work, files[0], lambda name: shared.open_store(args.work, name), args.out))
    return 0
