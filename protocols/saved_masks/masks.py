"""Masks of a board's rows, read from saved predictions and the store of the records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.files.names import path_in
from protocols.cells.predictions import read_prediction
from protocols.cells.recorded_plan import recorded_plan
from results.figures.slice_figures import SliceMasks, dice_along_organ
from results.leaderboard.board import Board, LeaderboardRow
from results.records.record import Record
from results.records.record_parts import Score
from results.summary.frame import mean_of, scan_dice
from results.summary.screening import record_text


@dataclass(frozen=True)
class Cell:
    """A recorded cell whose predictions were saved."""

    record: Record
    folder: Path


def check_store(store: Store, board: Board) -> None:
    """Raise `UserError` if a board's records are of another store."""
    expected = board.record.dataset.hash
    if store.hash != expected:
        raise UserError(
            f"the store in {store.path} has hash {store.hash}, the records are of {expected}; prepare the "
            "dataset as it was"
        )


def saved_cells(
    work: Path, line: LeaderboardRow, paths: Mapping[str, Path], *, every_seed: bool = False
) -> list[Cell]:
    """Return the cells of a row that have saved predictions.

    Args:
        work: the work folder.
        line: a row of the board.
        paths: canonical JSON of a record -> its file.
        every_seed: include every seed; else only the first.
    """
    cells = []
    blocks = line.row.results if every_seed else line.row.results[:1]
    for record in (record for block in blocks for record in block.cells.values()):
        if record.key is None or record_text(record) not in paths:
            continue
        folder = path_in(work / "predictions", "cell", record.key)
        if folder.is_dir():
            cells.append(Cell(record, folder))
    return cells


def defined_scores(cell: Cell) -> Iterator[Score]:
    """Yield the defined scores of a cell, one per class and scan."""
    seen = set()
    for score in cell.record.scores:
        if score.undefined is None and (score.class_name, score.scan) not in seen:
            seen.add((score.class_name, score.scan))
            yield score


def prediction(cell: Cell, store: Store, name: str, scan: str) -> NDArray[np.bool_]:
    """Return the saved mask (Z,H,W) of a class on a scan; a missing or misshapen file raises `UserError`."""
    return read_prediction(cell.folder, store, name, scan)


def truth(store: Store, name: str, scan: str) -> NDArray[np.bool_]:
    """Return the annotation (Z,H,W) of a class on a scan."""
    mask: NDArray[np.bool_] = store.scan(scan).labels == store.spec.classes[name]
    return mask


def organ_curves(cells: Mapping[str, list[Cell]], store: Store) -> dict[str, dict[str, list[Any]]]:
    """Return method -> class -> points along the organ of every scan."""
    curves: dict[str, dict[str, list[Any]]] = {}
    for label, of_method in cells.items():
        for cell in of_method:
            for score in defined_scores(cell):
                true = truth(store, score.class_name, score.scan)
                places = np.flatnonzero(true.any(axis=(1, 2)))
                points = dice_along_organ(
                    prediction(cell, store, score.class_name, score.scan), true, places[0], places[-1]
                )
                curves.setdefault(label, {}).setdefault(score.class_name, []).append(points)
    return curves


def slice_masks(cells: Mapping[str, list[Cell]], store: Store, group: str) -> list[SliceMasks]:
    """Return a slice per class of a group's best, median and worst scan.

    Scans are ranked by mean Dice over methods and classes, if every method has saved masks of them. Without
    such a scan the list is empty.
    """
    by_scan: dict[tuple[int, str], dict[str, Cell]] = {}
    for label, of_method in cells.items():
        for cell in of_method:
            if cell.record.group == group:
                for score in defined_scores(cell):
                    by_scan.setdefault((cell.record.fold, score.scan), {})[label] = cell
    complete = {scan: of for scan, of in by_scan.items() if of.keys() == cells.keys()}
    order = sorted(complete, key=lambda scan: (-_mean(complete[scan].values(), scan[1]), scan))
    if not order:
        return []
    places = dict.fromkeys((0, len(order) // 2, len(order) - 1))
    names = {0: "best", len(order) - 1: "worst"}
    return [
        _slice_of(
            f"{names.get(place, 'median')}: {name}", name, order[place][1], complete[order[place]], store
        )
        for place in sorted(places)
        for name in _classes(complete[order[place]], order[place][1])
    ]


def _mean(cells: Iterable[Cell], scan: str) -> float:
    """Return the mean Dice of a scan over classes, then over the methods' cells."""
    return mean_of(float(scan_dice(cell.record)[scan]) for cell in cells)


def _classes(cells: Mapping[str, Cell], scan: str) -> list[str]:
    first = next(iter(cells.values()))
    return [score.class_name for score in defined_scores(first) if score.scan == scan]


def _slice_of(title: str, name: str, scan: str, cells: Mapping[str, Cell], store: Store) -> SliceMasks:
    """Return the scored slice with the largest area of the class, with every method's mask on it."""
    record = next(iter(cells.values())).record
    true = truth(store, name, scan)
    tasks = [
        (int(true[ref.z].sum()), -ref.z, task)
        for task in recorded_plan(record, store).tasks
        if task.class_name == name and task.queries and task.queries[0].scan == scan
        for ref, counts in zip(task.queries, task.scored, strict=True)
        if counts
    ]
    _size, place, task = max(tasks, key=lambda item: item[:2])
    support, z = store.scan(task.support[0].scan), task.support[0].z
    dices = {
        label: score.dice
        for label, cell in cells.items()
        for score in defined_scores(cell)
        if (score.class_name, score.scan) == (name, scan) and score.dice is not None
    }
    return SliceMasks(
        title=title,
        support_image=np.asarray(support.image[z], dtype=np.float32),
        support_mask=np.asarray(support.labels[z] == task.class_value),
        query_image=np.asarray(store.scan(scan).image[-place], dtype=np.float32),
        truth=true[-place],
        predictions={label: prediction(cell, store, name, scan)[-place] for label, cell in cells.items()},
        dices=dices,
        support_name=f"scan {task.support[0].scan}, slice {z}",
        query_name=f"scan {scan}, slice {-place}",
    )
