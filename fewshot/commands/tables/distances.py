"""Measure surface distances of recorded cells from their saved predictions and the store, in millimetres.

WORK/distances keeps the measures of each cell; a second call reads them and measures the missing cells.

Examples:
  fewshot distances --dataset chaost2
  fewshot distances --dataset chaost2 --setting 2 --tolerance-mm 3 --format md --out distances.md
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from fewshot.base.errors import UserError
from fewshot.commands import board as shared_board
from fewshot.commands import options
from fewshot.commands.terminal import write_error

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from episodes.store.store import Store
    from fewshot.base.progress import Progress
    from fewshot.commands.masks import Cell
    from results.leaderboard.board import LeaderboardRow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    shared_board.add_board(parser, measures=False).add_argument(
        "--tolerance-mm", type=float, default=2.0, metavar="MM", help="tolerance of the surface Dice in mm"
    )
    shared_board.add_records(parser)
    options.add_output(parser, ("text", "md"))


def run(args: argparse.Namespace) -> int:
    """Measure every cell with predictions into WORK/distances/<cell>.json; print the tables."""
    from fewshot.commands import masks
    from results.leaderboard.board import leaderboard
    from results.tables.distance_tables import render_distances

    if not 0 <= args.tolerance_mm < float("inf"):
        raise UserError(f"--tolerance-mm {args.tolerance_mm}: wanted 0 or more millimetres")
    screened, status = shared_board.screened(args)
    made = leaderboard(screened.records, args.dataset, args.setting, args.protocol, replicates=1)
    store = masks.open_masks(args, made)
    rows = []
    for line in made.lines:
        cells = masks.saved_cells(args.work, line, screened.paths, every_seed=True)
        total = sum(len(block.cells) for block in line.row.results)
        if len(cells) == total and not line.row.missing:
            rows.append((line.label, line.row, _measured(args, cells, store)))
        else:
            write_error(f"not measured: {_reason(line, len(cells), total, args.work)}")
    if not rows:
        raise UserError("no method has all cells and their predictions; run with --save-predictions")
    notes = [f"left out: {reason}" for reason in made.left_out]
    options.write_output(render_distances(made.record, rows, args.tolerance_mm, notes, args.format), args.out)
    return status


def _reason(row: LeaderboardRow, saved: int, total: int, work: Path) -> str:
    if row.row.missing:
        return f"{row.label}: {len(row.row.missing)} cells are missing"
    return f"{row.label}: {total - saved} of {total} cells have no predictions in {work / 'predictions'}"


def _measured(
    args: argparse.Namespace, cells: list[Cell], store: Store
) -> Mapping[tuple[int, str, str, int], Any]:
    """Return (fold, class, scan, seed) -> distance score; write a file per cell."""
    from fewshot.base.atomic_io import write_json
    from fewshot.base.progress import progress
    from results.metrics.distances import SCHEMA

    by_scan = {}
    total = sum(len(cell.record.scores) for cell in cells)
    with progress(total, f"{cells[0].record.method.name} distances", "mask") as bar:
        for cell in cells:
            dataset = cell.record.dataset
            about = {
                "schema": SCHEMA, "cell": cell.folder.name, "tolerance_mm": args.tolerance_mm,
                "dataset": {"name": dataset.name, "hash": dataset.hash}, "plan_hash": cell.record.plan_hash,
                "counts": [[score.tp, score.fp, score.fn] for score in cell.record.scores],
            }  # fmt: skip
            path = args.work / "distances" / f"{cell.folder.name}.json"
            scores = _known(path, about)
            if scores is None:
                scores = _scores(cell, store, args.tolerance_mm, bar)
                write_json(path, {**about, "scores": scores})
            else:
                bar.update(len(scores))
            seed = cell.record.model.seed
            for score in scores:
                by_scan[cell.record.fold, score["class"], score["scan"], seed] = score
    return by_scan


def _known(path: Path, about: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the saved scores of the same masks and tolerance, or None."""
    from fewshot.base.input_files import read_json

    if not path.is_file():
        return None
    value = read_json(path, "delete it to measure again")
    if not isinstance(value, dict):
        return None
    scores: list[dict[str, Any]] = value.pop("scores", None)
    return scores if value == about else None


def _scores(cell: Cell, store: Store, tolerance_mm: float, bar: Progress) -> list[dict[str, Any]]:
    """Return a cell's distance scores, from masks cropped to the model's square and the scored slices."""
    import numpy as np

    from fewshot.commands import masks
    from protocols.cells.recorded_plan import recorded_plan
    from results.summary.distance_scores import distance_score

    counted: dict[tuple[str, str], set[int]] = {}
    for task in recorded_plan(cell.record, store).tasks:
        slices = counted.setdefault((task.class_name, task.queries[0].scan), set())
        slices |= {ref.z for ref, counts in zip(task.queries, task.scored, strict=True) if counts}
    size = store.spec.image_size
    distances: list[dict[str, Any]] = []
    for score in cell.record.scores:
        name, scan = score.class_name, score.scan
        if (name, scan) in {(score["class"], score["scan"]) for score in distances}:
            raise UserError(
                f"cell {cell.folder.name} has several supports for {name} of scan {scan}; distances need "
                "exactly one mask a scan, so use a protocol with one support"
            )
        stored = store.scan(scan)
        is_scored = np.zeros(len(stored.labels), dtype=bool)
        is_scored[sorted(counted.get((name, scan), ()))] = True
        true = masks.truth(store, name, scan)
        mask = masks.prediction(cell, store, name, scan) if score.undefined is None else true
        cropped = [(each & is_scored[:, None, None])[:, :size, :size] for each in (mask, true)]
        spacing = stored.spacing_mm if store.spec.spacing_known else None
        distances.append(distance_score(score, cropped[0], cropped[1], spacing, tolerance_mm))
        bar.update(1)
    return distances
