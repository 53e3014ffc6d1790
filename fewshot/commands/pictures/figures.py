"""Draw a board: Dice by class, boxes of scans, critical differences, size of the organ, supports, and masks.

Dice along the organ and the pictures of masks need predictions saved by `fewshot run --save-predictions`.
Dice by support is drawn for a protocol that uses several supports in turn, such as open-ep.

Examples:
  fewshot figures --dataset chaost2
  fewshot figures --dataset sabs --setting 2 --measure iou --out figures
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fewshot.base.errors import UserError
from fewshot.commands import board as shared_board
from fewshot.commands import shared
from fewshot.commands.terminal import write_error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    shared_board.add_board_of_records(parser)
    group = parser.add_argument_group("pictures")
    group.add_argument(
        "--out", type=Path, metavar="DIR", help="folder (default: WORK/figures/<dataset>-setting-<n>)"
    )


def run(args: argparse.Namespace) -> int:
    """Draw the pictures that the records and saved predictions allow; print their paths."""
    from protocols.saved_masks.board_pictures import draw_board

    made, screened, status = shared_board.open_board(args)
    out = args.out or args.work / "figures" / f"{args.dataset}-setting-{args.setting}"
    drawn, missing = draw_board(
        made, screened.paths, args.work, out, lambda name: shared.open_store(args.work, name)
    )
    for figure in drawn:
        print("  ".join(map(str, figure.paths)))
    for reason in missing:
        write_error(f"not drawn: {reason}")
    if not drawn:
        raise UserError("no picture can be drawn from these records; run the missing cells")
    return status
