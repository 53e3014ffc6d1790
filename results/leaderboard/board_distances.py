"""Columns of a board for surface distances: HD95, surface Dice, and the share of cells that have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from results.leaderboard.board import INCOMPLETE, UNDEFINED, Board, LeaderboardRow, Number
from results.metrics.distances import CONVENTIONS, DISTANCES, EMPTY
from results.summary.frame import spread_of_folds
from results.tables.distance_tables import DistanceScores, distance_values, score_key

HEADER = ("HD95, mm", "surface Dice", "cells with distances", "undefined distances")
COLUMNS = ("hd95_mm", "nsd")


@dataclass(frozen=True)
class RowDistances:
    """The surface distances of one row.

    Attributes:
        hd95, surface_dice: means over folds of the row, in mm and in [0, 1]. Without a mean the state says
            why: `INCOMPLETE` if a cell has no distances, `UNDEFINED` if none is defined.
        cells: number of cells that have distances, of all seeds.
        total: number of cells of a complete row, of all seeds.
        undefined: number of undefined distances.
        scores: number of scores of the cells that have distances.
    """

    hd95: Number
    surface_dice: Number
    cells: int
    total: int
    undefined: int
    scores: int


@dataclass(frozen=True)
class BoardDistances:
    """The distances of a board's rows by configuration id, the tolerance, and a line for each omission."""

    rows: Mapping[str, RowDistances]
    tolerance_mm: float
    notes: tuple[str, ...]


def row_distances(line: LeaderboardRow, scores: DistanceScores) -> RowDistances:
    """Return the distances of a row from the scores of the cells that have some."""
    row = line.row
    having = [
        record for record in row.cells if all(score_key(record, score) in scores for score in record.scores)
    ]
    total = len(row.cells) + len(row.missing)
    known = [scores[score_key(record, score)] for record in having for score in record.scores]
    undefined = sum(score["undefined"] is not None for score in known)
    if len(having) < total:
        gone = Number(None, state=INCOMPLETE)
        return RowDistances(gone, gone, len(having), total, undefined, len(known))
    hd95, nsd = (_mean(line, scores, name) for name in COLUMNS)
    return RowDistances(hd95, nsd, total, total, undefined, len(known))


def distance_header(board: Board) -> tuple[str, ...]:
    """Return the headings of the distance columns; () for a board without distances."""
    return HEADER if board.distances is not None else ()


def distance_texts(board: Board, line: LeaderboardRow) -> tuple[str, ...]:
    """Return a row's texts under `distance_header`: HD95 in mm, surface Dice in percent, cells, undefined."""
    if board.distances is None:
        return ()
    own = board.distances.rows[line.row.configuration_id]
    texts = [
        "-" if not own.cells else number.state if number.mean is None else f"{scale * number.mean:.2f}"
        for number, scale in ((own.hd95, 1), (own.surface_dice, 100))
    ]
    return (*texts, f"{own.cells}/{own.total}", f"{own.undefined}/{own.scores}")


def distance_notes(board: Board) -> list[str]:
    """Return the notes on the distance columns: conventions, what is left out."""
    if board.distances is None:
        return []
    tolerance = f"{board.distances.tolerance_mm:g} mm"
    return [
        f"HD95: {DISTANCES['hd95_mm']}; {CONVENTIONS['hd95_mm']} (docs/distances.md)",
        f"surface Dice: {DISTANCES['nsd']} at a tolerance of {tolerance}, in percent; {CONVENTIONS['nsd']}",
        f"{EMPTY}; a row has a mean only if all of its cells have saved predictions",
        *(f"no distances: {reason}" for reason in board.distances.notes),
    ]


def distances_json(board: Board, line: LeaderboardRow) -> dict[str, Any] | None:
    """Return a row's distances as JSON: mm and ratios in [0, 1]; None for a board without distances."""
    if board.distances is None:
        return None
    own = board.distances.rows[line.row.configuration_id]
    return {
        "hd95_mm": own.hd95.mean, "surface_dice": own.surface_dice.mean, "state": own.hd95.state,
        "tolerance_mm": board.distances.tolerance_mm, "cells": own.cells, "cells_of_row": own.total,
        "undefined": own.undefined, "scores": own.scores,
    }  # fmt: skip


def _mean(line: LeaderboardRow, scores: DistanceScores, name: str) -> Number:
    spread = spread_of_folds(distance_values(line.row, scores, name).means.of_all(line.row.first.folds))
    return Number(None, state=UNDEFINED) if spread is None else Number(spread.mean, spread.std)
