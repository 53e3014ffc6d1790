"""Options of the surface distances that boards show."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.base.errors import UserError

if TYPE_CHECKING:
    from argparse import _ArgumentGroup as ArgumentGroup

    from results.leaderboard.board import Board


def add_tolerance(group: ArgumentGroup) -> None:
    """Add `--tolerance-mm`."""
    group.add_argument(
        "--tolerance-mm", type=float, default=2.0, metavar="MM", help="tolerance of the surface Dice in mm"
    )


def add_distances(group: ArgumentGroup) -> None:
    """Add the options of a board's distance columns."""
    group.add_argument(
        "--no-distances", action="store_true",
        help="leave out HD95 and surface Dice, which are measured where predictions are saved",
    )  # fmt: skip
    add_tolerance(group)


def check_tolerance(args: argparse.Namespace) -> None:
    """Raise `UserError` for a tolerance that is negative or not finite."""
    if not 0 <= args.tolerance_mm < float("inf"):
        raise UserError(f"--tolerance-mm {args.tolerance_mm}: expected 0 or more millimetres")


def with_distances(args: argparse.Namespace, made: Board, paths: Mapping[str, Path]) -> Board:
    """Return the board with the distances of its saved predictions; the same board with --no-distances."""
    check_tolerance(args)
    if args.no_distances:
        return made
    from protocols.saved_masks.board_distances import measure_board

    return measure_board(made, paths, args.work, args.tolerance_mm)
