"""Measure surface distances of recorded cells from their saved predictions and the store, in millimetres.

A cell that was measured before is read from WORK/distances: a second call, or one after an interruption, does
what is missing.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from fewshot.base.errors import UserError
from fewshot.commands import board as shared_board

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from episodes.store.store import Store
    from fewshot.base.progress import Progress
    from fewshot.commands.masks import Cell
    from results.leaderboard.board import LeaderboardRow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    shared_board.add_board(parser, measures=False)
    shared_board.add_records(parser)
    parser.add_argument(
        "--tolerance-mm", type=float, default=2.0, metavar="MM", help="of the surface Dice (default: 2)"
    )
    parser.add_argument("--format", default="text", choices=("text", "md"), help="default: text")


def run(args: argparse.Namespace) -> int:
    """Write WORK/distances/<cell>.json of every cell with predictions, and print the tables."""
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
        wanted = sum(len(block.cells) for block in line.row.blocks)
        if len(cells) == wanted and not line.row.missing:
            rows.append((line.label, line.row, _measured(args, cells, store)))
        else:
            sys.stderr.write(f"not measured: {_reason(line, len(cells), wanted, args.work)}\n")
    if not rows:
        raise UserError("no method has all cells and their predictions; run with --save-predictions")
    notes = [f"left out: {reason}" for reason in made.left_out]
    print(render_distances(made.record, rows, args.tolerance_mm, notes, args.format))
    return status


def _reason(line: LeaderboardRow, found: int, wanted: int, work: Path) -> str:
    if line.row.missing:
        return f"{line.label}: {len(line.row.missing)} cells are missing"
    return f"{line.label}: {wanted - found} of {wanted} cells have no predictions in {work / 'predictions'}"


def _measured(
    args: argparse.Namespace, cells: list[Cell], store: Store
) -> Mapping[tuple[int, str, str, int], Any]:
    """Return the distance score of every (fold, class, scan, seed), and write a file per cell."""
    from fewshot.base.atomic_io import write_json
    from fewshot.base.progress import progress
    from results.metrics.distances import SCHEMA

    found = {}
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
                found[cell.record.fold, score["class"], score["scan"], seed] = score
    return found


def _known(path: Path, about: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the scores measured before of the same masks and tolerance; None where there are none."""
    import json

    if not path.is_file():
        return None
    value = json.loads(path.read_text())
    scores: list[dict[str, Any]] = value.pop("scores", None)
    return scores if value == about else None


def _scores(cell: Cell, store: Store, tolerance_mm: float, bar: Progress) -> list[dict[str, Any]]:
    """Return the distance scores of a cell: masks cut to the model's square and to the scored slices."""
    import numpy as np

    from fewshot.commands import masks
    from protocols.cells.recorded_plan import recorded_plan
    from results.summary.distance_scores import distance_score

    counted: dict[tuple[str, str], set[int]] = {}
    for task in recorded_plan(cell.record, store).tasks:
        slices = counted.setdefault((task.class_name, task.queries[0].scan), set())
        slices |= {ref.z for ref, counts in zip(task.queries, task.scored, strict=True) if counts}
    size = store.spec.image_size
    found: list[dict[str, Any]] = []
    for score in cell.record.scores:
        name, scan = score.class_name, score.scan
        if (name, scan) in {(one["class"], one["scan"]) for one in found}:
            raise UserError(
                f"cell {cell.folder.name} answers {name} of scan {scan} from several supports, and a mask is "
                "saved of one alone; distances are not to be had under this protocol"
            )
        stored = store.scan(scan)
        asked = np.zeros(len(stored.labels), dtype=bool)
        asked[sorted(counted.get((name, scan), ()))] = True
        true = masks.truth(store, name, scan)
        mask = masks.prediction(cell, store, name, scan) if score.undefined is None else true
        cut = [(one & asked[:, None, None])[:, :size, :size] for one in (mask, true)]
        spacing = stored.spacing_mm if store.spec.spacing_known else None
        found.append(distance_score(score, cut[0], cut[1], spacing, tolerance_mm))
        bar.update(1)
    return found
