"""Draw a board: Dice by class and method, against organ size, along the organ, and best to worst scans.

The last two need predictions saved by `fewshot run --save-predictions`.

Examples:
  fewshot figures --dataset chaost2
  fewshot figures --dataset sabs --setting 2 --measure iou --out figures
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.base.errors import UserError
from fewshot.commands import board as shared_board
from fewshot.commands.terminal import write_error

if TYPE_CHECKING:
    from results.leaderboard.board import Board

MOST_METHODS = 5


@dataclass(frozen=True)
class DrawnFigure:
    """A picture on disk, as SVG and as PNG, with its title and caption."""

    title: str
    caption: str
    paths: tuple[Path, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    shared_board.add_board(parser)
    shared_board.add_records(parser)
    group = parser.add_argument_group("pictures")
    group.add_argument(
        "--out", type=Path, metavar="DIR", help="folder (default: WORK/figures/<dataset>-setting-<n>)"
    )


def run(args: argparse.Namespace) -> int:
    """Draw the pictures that the records and saved predictions allow; print their paths."""
    from results.leaderboard.board import leaderboard

    screened, status = shared_board.screened(args)
    made = leaderboard(
        screened.records, args.dataset, args.setting, args.protocol, measure=args.measure
    )  # fmt: skip
    out = args.out or args.work / "figures" / f"{args.dataset}-setting-{args.setting}"
    drawn, missing = draw(args, made, screened.paths, out)
    for figure in drawn:
        print("  ".join(map(str, figure.paths)))
    for reason in missing:
        write_error(f"not drawn: {reason}")
    return status


def draw(
    args: argparse.Namespace, made: Board, paths: Mapping[str, Path], out: Path
) -> tuple[list[DrawnFigure], list[str]]:
    """Draw into `out`; return the pictures, and a line for each picture that could not be drawn."""
    from results.figures.board_figures import draw_by_class, draw_by_size
    from results.metrics.measures import MEASURES

    unit = MEASURES[made.measure]
    drawn = [
        DrawnFigure(
            f"{unit} by class and method",
            "A point is a scan, seeds averaged; the thick bar is the mean over folds, the line its 95 % "
            "bootstrap interval.",
            tuple(draw_by_class(made, out / "by-class")),
        ),
        DrawnFigure(
            f"{unit} against the size of the organ",
            "A mark is a scan; the size is the number of true pixels in the scored slices.",
            tuple(draw_by_size(made, out / "by-size")),
        ),
    ]
    try:
        drawn += _from_masks(args, made, paths, out)
    except UserError as error:
        return drawn, [f"pictures that need masks: {error}"]
    return drawn, []


def _from_masks(
    args: argparse.Namespace, made: Board, paths: Mapping[str, Path], out: Path
) -> list[DrawnFigure]:
    from fewshot.commands import masks
    from results.figures.board_figures import MOST
    from results.figures.slice_figures import draw_along, draw_predictions

    store = masks.open_masks(args, made)
    cells = {line.label: masks.saved_cells(args.work, line, paths) for line in made.lines}
    cells = dict([(label, saved) for label, saved in cells.items() if saved][:MOST])
    if not cells:
        raise UserError(
            f"no predictions of these records in {args.work / 'predictions'}; run with --save-predictions"
        )
    drawn = [
        DrawnFigure(
            "Dice along the organ",
            "Mean over scans of the Dice of single slices, from the organ's first slice to its last; of the "
            "first seed of each method.",
            tuple(draw_along(made.title, masks.organ_curves(cells, store), out / "along-organ")),
        )
    ]
    shown = dict(list(cells.items())[:MOST_METHODS])
    for group in made.record.grid.groups:
        rows = masks.slice_masks(shown, store, group)
        if rows:
            drawn.append(
                DrawnFigure(
                    f"best, median and worst scan, {group}",
                    "Support with its annotation, query, truth, and each method's mask; dashed: the truth. "
                    "Scans are ordered by their mean Dice over the methods shown.",
                    tuple(draw_predictions(f"{made.title}: {group}", rows, out / f"answers-{group}")),
                )
            )
    return drawn
