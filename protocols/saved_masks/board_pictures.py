"""Pictures of a board: Dice by class and size, along the organ, and best to worst scans."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from episodes.store.store import Store
from fewshot.base.errors import UserError
from protocols.saved_masks.masks import check_store, organ_curves, saved_cells, slice_masks
from results.figures.board_figures import MOST, draw_by_class, draw_by_size
from results.figures.slice_figures import draw_along, draw_predictions
from results.leaderboard.board import Board
from results.metrics.measures import MEASURES

MOST_METHODS = 5


@dataclass(frozen=True)
class DrawnFigure:
    """A picture on disk, as SVG and as PNG, with its title and caption."""

    title: str
    caption: str
    paths: tuple[Path, ...]


def draw_board(
    made: Board, paths: Mapping[str, Path], work: Path, out: Path, open_store: Callable[[str], Store]
) -> tuple[list[DrawnFigure], list[str]]:
    """Draw the pictures of a board.

    Args:
        made: the board.
        paths: canonical JSON of a record -> its file.
        work: holds the saved predictions.
        out: folder of the pictures.
        open_store: returns the store of a dataset's name.

    Returns:
        The pictures, and a line for each picture that could not be drawn.
    """
    unit = MEASURES[made.measure]
    drawn = [
        DrawnFigure(
            f"{unit} by class and method",
            "A point is a scan, seeds averaged; the thick bar is the mean over folds, the line its "
            "interval over folds and seeds, over folds alone for a row with 1 seed.",
            tuple(draw_by_class(made, out / "by-class")),
        ),
        DrawnFigure(
            f"{unit} against the size of the organ",
            "A mark is a scan; the size is the number of true pixels in the scored slices.",
            tuple(draw_by_size(made, out / "by-size")),
        ),
    ]
    try:
        drawn += _from_masks(made, paths, work, out, open_store)
    except UserError as error:
        return drawn, [f"pictures that need masks: {error}"]
    return drawn, []


def _from_masks(
    made: Board, paths: Mapping[str, Path], work: Path, out: Path, open_store: Callable[[str], Store]
) -> list[DrawnFigure]:
    store = open_store(made.record.dataset.name)
    check_store(store, made)
    cells = {line.label: saved_cells(work, line, paths) for line in made.lines}
    cells = dict([(label, saved) for label, saved in cells.items() if saved][:MOST])
    if not cells:
        raise UserError(
            f"no predictions of these records in {work / 'predictions'}; run with --save-predictions"
        )
    drawn = [
        DrawnFigure(
            "Dice along the organ",
            "Mean over scans of the Dice of single slices, from the organ's first slice to its last; of the "
            "first seed of each method.",
            tuple(draw_along(made.title, organ_curves(cells, store), out / "along-organ")),
        )
    ]
    shown = dict(list(cells.items())[:MOST_METHODS])
    for group in made.record.grid.groups:
        rows = slice_masks(shown, store, group)
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
