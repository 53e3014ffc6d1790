"""Pictures of a board: from its records alone, and from saved masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from episodes.store.store import Store
from fewshot.base.errors import CannotWriteError, UserError
from protocols.saved_masks.masks import check_store, organ_curves, saved_cells, slice_masks
from results.comparison.all_pairs import ALPHA, TEST, compare_all, fold_means, p_of_rows, trained_once
from results.figures.board_figures import MOST, draw_by_class, draw_by_size
from results.figures.box_figures import draw_boxes
from results.figures.comparison_figures import MOST_ROWS, draw_all_pairs, draw_critical_difference
from results.figures.slice_figures import draw_along, draw_predictions
from results.figures.support_figures import draw_supports
from results.leaderboard.board import Board
from results.leaderboard.fold_sheet import short_names
from results.metrics.measures import MEASURES
from results.summary.support_sensitivity import several_supports

MOST_METHODS = 5


@dataclass(frozen=True)
class DrawnFigure:
    """A picture on disk, as SVG and as PNG, with its title and caption."""

    title: str
    caption: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class ScoreFigure:
    """A figure of scores: what lacks without it, how to draw it to a stem, its title after the measure."""

    what: str
    draw: Callable[[Board, Path], list[Path]]
    stem: str
    title: str
    caption: str

    def __call__(self, made: Board, out: Path) -> list[DrawnFigure]:
        """Draw it for a board into a folder."""
        title = f"{MEASURES[made.measure]} {self.title}"
        return [DrawnFigure(title, self.caption, tuple(self.draw(made, out / self.stem)))]


SCORE_FIGURES = (
    ScoreFigure(
        "Dice by class",
        draw_by_class,
        "by-class",
        "by class and method",
        "A point is a scan, seeds averaged; the thick bar is the mean over folds, the line its interval over "
        "folds and seeds, over folds alone for a row with 1 seed. A class without a complete result has no "
        "panel.",
    ),
    ScoreFigure(
        "boxes of the scans",
        draw_boxes,
        "boxes",
        "of the scans",
        "A box spans the quartiles over scans, its line is the median, its whiskers end at the last scan "
        "within 1.5 of its length. A mark is a scan, seeds averaged; its form and colour name the fold. "
        "Scans of a fold share one trained model, and one support unless the protocol uses several.",
    ),
    ScoreFigure(
        "size of the organ",
        draw_by_size,
        "by-size",
        "against the size of the organ",
        "A mark is a scan; the size is the number of true pixels in the scored slices.",
    ),
)


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

    Raises:
        CannotWriteError: a picture cannot be written.
    """
    parts: tuple[tuple[str, Callable[[Board, Path], list[DrawnFigure]]], ...] = (
        *((figure.what, figure) for figure in SCORE_FIGURES),
        ("comparison of all pairs", _all_pairs),
        ("Dice by support", _supports),
        ("pictures that need masks", partial(_from_masks, paths, work, open_store)),
    )
    drawn: list[DrawnFigure] = []
    missing = []
    for what, draw_part in parts:
        try:
            drawn += draw_part(made, out)
        except CannotWriteError:
            raise
        except UserError as error:
            missing.append(f"{what}: {error}")
    return drawn, missing


def _all_pairs(made: Board, out: Path) -> list[DrawnFigure]:
    first = made.regimes[0]  # pairs of two regimes are not compared
    rows = [line.row for line in made.lines if line.regime == first]
    names = short_names(rows)
    frame, group = fold_means(rows, names, made.measure)
    if len(frame) < 2:
        raise UserError(
            f"{len(frame)} of {len(rows)} methods have every cell of the same groups, expected two or more; "
            "run the missing cells"
        )
    lone = [name for row, name in zip(rows, names, strict=True) if trained_once(row)]
    pairs = compare_all(frame, lone, p_of_rows(rows, names, made.measure, group))
    unit = MEASURES[made.measure]
    title = f"{made.title}{f', {group} only' if group else ''}"
    left_out = len(rows) - len(frame)
    notes = f"Test: {TEST}; level {ALPHA:g}. {pairs.folds} folds."
    if pairs.seeds_missing:
        notes += " Methods of one training seed are not tested, because a second seed moves their mean."
    if left_out:
        notes += f" {left_out} methods lack cells and are left out."
    return [
        DrawnFigure(
            f"Critical-difference diagram, {unit}",
            f"Mean rank of each method over the folds. A bar joins methods of which no two differ. {notes}"
            f"{' An open mark has one training seed and no bar.' if pairs.seeds_missing else ''}",
            tuple(draw_critical_difference(pairs, title, notes, out / "critical-difference")),
        ),
        DrawnFigure(
            f"All pairs, {unit}",
            f"Mean over folds of the method of the row minus the method of the column, in percentage points, "
            f"with Holm's p; bold: p < {ALPHA:g}. {notes}"
            f"{f' The best {MOST_ROWS} of {len(frame)} are drawn.' if len(frame) > MOST_ROWS else ''}",
            tuple(draw_all_pairs(pairs, title, unit, notes, out / "all-pairs")),
        ),
    ]


def _supports(made: Board, out: Path) -> list[DrawnFigure]:
    if not any(several_supports(result) for line in made.lines for result in line.row.results):
        return []
    return [
        DrawnFigure(
            "Dice by support scan",
            "A mark is the mean over query scans with one support, averaged over the folds that use it. "
            "Supports stand from worst to best, by their mean over the methods. For each class and fold, the "
            "spread is the standard deviation over supports (n-1) and the worst support the smallest mean; "
            "both are averaged over classes and folds.",
            tuple(draw_supports(made, out / "supports")),
        )
    ]


def _from_masks(
    paths: Mapping[str, Path], work: Path, open_store: Callable[[str], Store], made: Board, out: Path
) -> list[DrawnFigure]:
    if any(several_supports(result) for line in made.lines for result in line.row.results):
        raise UserError("a scan has a mask for each support in turn; they show protocols with one support")
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
                    tuple(draw_predictions(f"{made.title}: {group}", rows, out / f"predictions-{group}")),
                )
            )
    return drawn
