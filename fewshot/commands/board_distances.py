"""The surface distances of a board's rows, measured from the predictions that the work folder keeps."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.base.errors import UserError
from fewshot.commands import masks

if TYPE_CHECKING:
    from argparse import _ArgumentGroup as ArgumentGroup

    from episodes.store.store import Store
    from results.leaderboard.board import Board, LeaderboardRow
    from results.tables.distance_tables import DistanceScores


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
    """Return the board with distances, or the same board with --no-distances or without predictions.

    A cell that cannot be measured has no distances; a note says why.
    """
    check_tolerance(args)
    if args.no_distances or not any(_saved(args, line, paths) for line in made.lines):
        return made
    from results.leaderboard.board_distances import BoardDistances, row_distances

    rows, notes = {}, []
    store: Store | None = None
    folder = args.work / "stores" / made.record.dataset.name
    if folder.is_dir():
        try:
            store = masks.open_masks(args, made)
        except UserError as error:
            notes.append(str(error))
    else:
        notes.append(f"the dataset is not prepared in {folder}")
    for line in made.lines:
        scores: DistanceScores = {}
        if store is not None:
            scores, faults = measured_scores(args, line, _saved(args, line, paths), store)
            notes += faults
        rows[line.row.configuration_id] = row_distances(line, scores)
    return replace(made, distances=BoardDistances(rows, args.tolerance_mm, tuple(notes)))


def measured_scores(
    args: argparse.Namespace, line: LeaderboardRow, cells: list[masks.Cell], store: Store
) -> tuple[DistanceScores, list[str]]:
    """Return the distance scores of the cells of a row, and a line for each cell that cannot be measured."""
    from fewshot.base.progress import progress
    from protocols.cells.cell_distances import cell_distances
    from results.tables.distance_tables import score_key

    scores, faults = {}, []
    total = sum(len(cell.record.scores) for cell in cells)
    with progress(total, f"{line.row.method} distances", "mask") as bar:
        for cell in cells:
            try:
                of_cell = cell_distances(
                    cell.record, cell.folder, store, args.work, args.tolerance_mm, bar.update
                )
            except UserError as error:
                faults.append(f"cell {cell.folder.name} of {line.label}: {error}")
                continue
            for score, distance in zip(cell.record.scores, of_cell, strict=True):
                scores[score_key(cell.record, score)] = distance
    return scores, faults


def _saved(args: argparse.Namespace, line: LeaderboardRow, paths: Mapping[str, Path]) -> list[masks.Cell]:
    return masks.saved_cells(args.work, line, paths, every_seed=True)
