"""Draw a board: Dice by class, boxes of scans, critical differences, size of the organ, supports, and masks.

Dice along the organ and the pictures of masks need predictions saved by `fewshot run --save-predictions`.
Dice by support is drawn for a protocol that uses several supports in turn, such as open-ep. With --curve the
picture is another one: the Dice of validation scans over training steps, from records of runs with
--checkpoint-policy validation.

Examples:
  fewshot figures --dataset chaost2
  fewshot figures --dataset chaost2 --curve
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
    group.add_argument("--curve", action="store_true", help="draw the learning curves and nothing else")


def run(args: argparse.Namespace) -> int:
    """Draw the pictures that the records and saved predictions allow; print their paths."""
    from protocols.saved_masks.board_pictures import draw_board

    out = args.out or args.work / "figures" / f"{args.dataset}-setting-{args.setting}"
    if args.curve:
        return _draw_curves(args, out)
    made, screened, status = shared_board.open_board(args)
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


def _draw_curves(args: argparse.Namespace, out: Path) -> int:
    """Draw the learning curves of the records; print their paths, and to stderr what they leave out."""
    from results.figures.curve_figure import draw_curves
    from results.leaderboard.learning_curve import learning_curves

    if args.measure != "dice":
        raise UserError(f"--curve --measure {args.measure}: records hold the Dice alone; leave out --measure")
    records, status = shared_board.read(args)
    made = learning_curves(records, args.dataset, args.setting, args.protocol)
    print("  ".join(map(str, draw_curves(made, out / "learning-curve"))))
    for reason in made.left_out:
        write_error(f"not drawn: {reason}")
    return status
