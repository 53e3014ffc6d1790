"""The surface distances of a board's rows, measured from the predictions that the work folder keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from episodes.store.store import Store
from fewshot.base.errors import CannotWriteError, UserError
from fewshot.files.names import path_in
from protocols.saved_masks.distances import measure_cells
from protocols.saved_masks.masks import check_store, saved_cells
from results.leaderboard.board import Board
from results.leaderboard.board_distances import BoardDistances, row_distances
from results.tables.distance_tables import DistanceScores


def measure_board(made: Board, paths: Mapping[str, Path], work: Path, tolerance_mm: float) -> Board:
    """Return the board with distances, or the same board if no row has saved predictions.

    A cell that cannot be measured, or whose distances cannot be written, has none; a note says why.

    Args:
        made: the board.
        paths: canonical JSON of a record -> its file.
        work: holds the store, the saved predictions and the files of distances.
        tolerance_mm: tolerance of the surface Dice in mm.

    Raises:
        UserError: a file of distances was edited.
    """
    cells = {
        line.row.configuration_id: saved_cells(work, line, paths, every_seed=True) for line in made.lines
    }
    if not any(cells.values()):
        return made
    notes: list[str] = []
    store = _store_of(made, work, notes)
    rows = {}
    for line in made.lines:
        identity = line.row.configuration_id
        scores: DistanceScores = {}
        if store is not None:
            try:
                scores, faults = measure_cells(line.label, cells[identity], store, work, tolerance_mm)
            except CannotWriteError as error:  # a board of a folder without write permission can be read
                faults = [str(error)]
            notes += faults
        rows[identity] = row_distances(line, scores)
    return replace(made, distances=BoardDistances(rows, tolerance_mm, tuple(notes)))


def _store_of(made: Board, work: Path, notes: list[str]) -> Store | None:
    """Return the store of the records; without it add a line to `notes` and return None."""
    folder = path_in(work / "stores", "dataset", made.record.dataset.name)
    if not folder.is_dir():
        notes.append(f"the dataset is not prepared in {folder}")
        return None
    try:
        store = Store.open(folder)
        check_store(store, made)
    except UserError as error:
        notes.append(str(error))
        return None
    return store
