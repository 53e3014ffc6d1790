"""The masks of a board's rows, read from saved predictions and the store they were made on."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot.base.errors import UserError
from fewshot.commands import shared

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from episodes.store.store import Store
    from results.figures.slice_figures import SliceMasks
    from results.leaderboard.board import Board, LeaderboardRow
    from results.records.record import Record
    from results.records.record_parts import Score


@dataclass(frozen=True)
class Cell:
    """A recorded cell whose predictions were saved."""

    record: Record
    folder: Path


def open_masks(args: argparse.Namespace, board: Board) -> Store:
    """Return the store the board's records were made on; `UserError` where it is another or not there."""
    store = shared.open_store(args.work, board.record.dataset.name)
    wanted = board.record.dataset.hash
    if store.hash != wanted:
        raise UserError(
            f"the store in {store.path} has hash {store.hash}, the records are of {wanted}; prepare the "
            "dataset as it was"
        )
    return store


def saved_cells(
    work: Path, line: LeaderboardRow, paths: Mapping[str, Path], *, every_seed: bool = False
) -> list[Cell]:
    """Return the cells of a row's first seed, or of all, that have predictions.

    `paths`: canonical JSON of a record -> its file, whose name is the cell's key.
    """
    from results.summary.screening import record_text

    found = []
    blocks = line.row.results if every_seed else line.row.results[:1]
    for record in (record for block in blocks for record in block.cells.values()):
        path = paths.get(record_text(record))
        if path is not None and (folder := work / "predictions" / path.stem).is_dir():
            found.append(Cell(record, folder))
    return found


def defined_scores(cell: Cell) -> Iterator[Score]:
    """Yield the defined scores of a cell, one per class and scan."""
    seen = set()
    for score in cell.record.scores:
        if score.undefined is None and (score.class_name, score.scan) not in seen:
            seen.add((score.class_name, score.scan))
            yield score


def prediction(cell: Cell, store: Store, name: str, scan: str) -> NDArray[np.bool_]:
    """Return the saved mask (Z,H,W) of a class on a scan; a missing or misshapen file is a `UserError`."""
    from episodes.io.nifti import read_nifti

    path = cell.folder / f"scan_{scan}_label_{store.spec.classes[name]}.nii.gz"
    if not path.is_file():
        raise UserError(f"{path} is missing; run the cell again with --overwrite --save-predictions")
    mask: NDArray[np.bool_] = read_nifti(path).array > 0
    wanted = store.scan(scan).labels.shape
    if mask.shape != wanted:
        raise UserError(f"{path} is {mask.shape}, wanted {wanted}; run the cell again with --overwrite")
    return mask


def truth(store: Store, name: str, scan: str) -> NDArray[np.bool_]:
    """Return the annotation (Z,H,W) of a class on a scan."""
    mask: NDArray[np.bool_] = store.scan(scan).labels == store.spec.classes[name]
    return mask


def organ_curves(cells: Mapping[str, list[Cell]], store: Store) -> dict[str, dict[str, list[Any]]]:
    """Return method -> class -> points along the organ of every scan."""
    import numpy as np

    from results.figures.slice_figures import dice_along_organ

    found: dict[str, dict[str, list[Any]]] = {}
    for label, some in cells.items():
        for cell in some:
            for score in defined_scores(cell):
                true = truth(store, score.class_name, score.scan)
                places = np.flatnonzero(true.any(axis=(1, 2)))
                points = dice_along_organ(
                    prediction(cell, store, score.class_name, score.scan), true, places[0], places[-1]
                )
                found.setdefault(label, {}).setdefault(score.class_name, []).append(points)
    return found


def slice_masks(cells: Mapping[str, list[Cell]], store: Store, group: str) -> list[SliceMasks]:
    """Return best, median and worst scan of a group by its mean Dice over methods and classes.

    Only scans that every method answered with saved masks are ranked; [] where there is none.
    """
    by_scan: dict[tuple[int, str], dict[str, Cell]] = {}
    for label, some in cells.items():
        for cell in some:
            if cell.record.group == group:
                for score in defined_scores(cell):
                    by_scan.setdefault((cell.record.fold, score.scan), {})[label] = cell
    whole = {scan: of for scan, of in by_scan.items() if of.keys() == cells.keys()}
    order = sorted(whole, key=lambda scan: (-_mean(whole[scan].values(), scan[1]), scan))
    if not order:
        return []
    places = dict.fromkeys((0, len(order) // 2, len(order) - 1))
    names = {0: "best", len(order) - 1: "worst"}
    return [
        _answers(f"{names.get(place, 'median')}: {name}", name, order[place][1], whole[order[place]], store)
        for place in sorted(places)
        for name in _classes(whole[order[place]], order[place][1])
    ]


def _mean(cells: Iterable[Cell], scan: str) -> float:
    """Return the mean Dice of a scan over classes, then over the methods' cells."""
    from results.summary.frame import mean_of, scan_dice

    return mean_of(float(scan_dice(cell.record)[scan]) for cell in cells)


def _classes(cells: Mapping[str, Cell], scan: str) -> list[str]:
    first = next(iter(cells.values()))
    return [score.class_name for score in defined_scores(first) if score.scan == scan]


def _answers(title: str, name: str, scan: str, cells: Mapping[str, Cell], store: Store) -> SliceMasks:
    """Return the slice that shows most of the class among those scored, with every method's mask on it."""
    import numpy as np

    from protocols.cells.recorded_plan import recorded_plan
    from results.figures.slice_figures import SliceMasks

    record = next(iter(cells.values())).record
    true = truth(store, name, scan)
    tasks = [
        (int(true[ref.z].sum()), -ref.z, task)
        for task in recorded_plan(record, store).tasks
        if task.class_name == name and task.queries[0].scan == scan
        for ref, counts in zip(task.queries, task.scored, strict=True)
        if counts
    ]
    _size, place, task = max(tasks, key=lambda one: one[:2])
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
