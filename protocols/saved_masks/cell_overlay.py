"""Picture of a recorded cell: support, query, truth and prediction of its best, median and worst scan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from episodes.plan.plan import EvaluationPlan
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.files.names import path_in
from protocols.cells.predictions import read_prediction, support_suffix
from protocols.cells.recorded_plan import recorded_plan
from results.figures.overlay import DPI, Panel, draw_overlay
from results.records.files import read_record
from results.records.record import Record
from results.records.record_parts import Score
from results.summary.frame import scan_dice


def draw_cell(
    work: Path, record_file: Path, open_store: Callable[[str], Store], out: Path | None = None
) -> Path:
    """Draw a recorded cell with saved predictions.

    Args:
        work: holds the saved predictions.
        record_file: the cell's record; its name is the cell's key.
        open_store: returns the store of a dataset's name.
        out: the PNG; None for `work`/figures/<key>.png.

    Returns:
        The path of the PNG.

    Raises:
        UserError: predictions are missing, no Dice is defined, or the store is another one.
    """
    record = read_record(record_file)
    return draw_record(work, record, record.key or record_file.stem, open_store, out)


def draw_record(
    work: Path,
    record: Record,
    key: str,
    open_store: Callable[[str], Store],
    out: Path | None = None,
    *,
    dpi: int = DPI,
) -> Path:
    """Draw a record whose predictions lie in `work`/predictions/`key`, with `dpi` pixels an inch.

    The other arguments, the result and the errors are those of `draw_cell`.
    """
    folder = path_in(work / "predictions", "cell", key)
    if not folder.is_dir():
        raise UserError(f"cell {key} has no predictions in {folder}; run it again with --save-predictions")
    store = open_store(record.dataset.name)
    plan = recorded_plan(record, store)
    panels = [
        _with_points(
            _panel(f"{rank}: {class_name}\nDice {100 * score.dice:.1f} %", plan, store, folder, score),
            record,
            store,
            score,
        )
        for rank, scan in _ranked(record)
        for class_name in plan.classes
        for score in record.scores
        if (score.scan, score.class_name) == (scan, class_name) and score.dice is not None
    ]
    path = out or work / "figures" / f"{key}.png"
    heading = (
        f"{record.method.name} on {record.dataset.name}, setting {record.setting}, "
        f"fold {record.fold}, group {record.group} ({record.protocol.name})"
    )
    draw_overlay(heading, panels, path, dpi)
    return path


def _ranked(record: Record) -> list[tuple[str, str]]:
    """Return ("best", scan), ("median", scan), ("worst", scan) by the scan's mean Dice over classes."""
    dices = {str(scan): float(dice) for scan, dice in scan_dice(record).items()}
    order = sorted(dices, key=lambda scan: -dices[scan])
    if not order:
        raise UserError("the cell has no defined Dice; there is nothing to draw")
    chosen = {order[0]: "best", order[-1]: "worst"}
    chosen.setdefault(order[len(order) // 2], "median")
    return [
        (rank, scan) for rank in ("best", "median", "worst") for scan, name in chosen.items() if name == rank
    ]


def _panel(title: str, plan: EvaluationPlan, store: Store, folder: Path, score: Score) -> Panel:
    tasks = [
        task for task in plan.tasks
        if task.class_name == score.class_name and task.queries and task.queries[0].scan == score.scan
        and list(dict.fromkeys(ref.scan for ref in task.support)) == list(score.supports)
    ]  # fmt: skip
    value = tasks[0].class_value
    query = store.scan(score.scan)
    ref, task = max(
        (
            (ref, task)
            for task in tasks
            for ref, scored in zip(task.queries, task.scored, strict=True)
            if scored
        ),
        key=lambda pair: (int((query.labels[pair[0].z] == value).sum()), -pair[0].z),
    )
    support = store.scan(task.support[0].scan)
    z = task.support[0].z
    prediction = read_prediction(folder, store, score.class_name, ref.scan, support_suffix(plan, task))
    return Panel(
        title=title,
        support_image=np.asarray(support.image[z], dtype=np.float32),
        support_mask=np.asarray(support.labels[z] == value),
        query_image=np.asarray(query.image[ref.z], dtype=np.float32),
        truth=np.asarray(query.labels[ref.z] == value),
        prediction=prediction[ref.z],
        support_name=f"scan {task.support[0].scan}, slice {z}",
        query_name=f"scan {ref.scan}, slice {ref.z}",
        slice=ref.z,
    )


def _with_points(panel: Panel, record: Record, store: Store, score: Score) -> Panel:
    """Return a panel with the true and the predicted points of its query slice, if the record has any."""
    place = (score.class_name, score.scan, score.supports)
    for each in record.landmarks:
        if (each.class_name, each.scan, each.supports) == place:
            query = store.scan(score.scan)
            true = np.array(list(query.points.values()), dtype=np.float64).reshape(-1, 3)
            found = np.array(each.points_mm, dtype=np.float64).reshape(-1, 3) / query.spacing_mm
            return replace(
                panel,
                truth_points=on_slice(true, panel.slice),
                found_points=on_slice(found, panel.slice),
            )
    return panel


def on_slice(points: NDArray[np.float64], z: int) -> NDArray[np.float64]:
    """Return (row, column) (P,2) of those of the points (z,y,x) in voxels that lie on a slice."""
    return points[np.rint(points[:, 0]) == z, 1:]
