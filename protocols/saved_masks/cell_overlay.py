"""Picture of a recorded cell: support, query, truth and prediction of its best, median and worst scan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from episodes.store.store import Store
from fewshot.base.errors import UserError
from protocols.saved_masks.cell_panels import CellPanels, Heat, open_panels
from results.figures.overlay import DPI, Panel, draw_overlay
from results.records.files import read_record
from results.records.record import Record
from results.records.record_parts import Score
from results.summary.frame import scan_dice


def draw_cell(
    work: Path,
    record_file: Path,
    open_store: Callable[[str], Store],
    out: Path | None = None,
    heat: Heat | None = None,
) -> Path:
    """Draw a recorded cell with saved predictions.

    Args:
        work: holds the saved predictions.
        record_file: the cell's record; its name is the cell's key.
        open_store: returns the store of a dataset's name.
        out: the PNG; None for `work`/figures/<key>.png.
        heat: returns the heat-maps of a slice, which stand in place of the support; None without any.

    Returns:
        The path of the PNG.

    Raises:
        UserError: predictions are missing, no Dice is defined, or the store is another one.
    """
    record = read_record(record_file)
    return draw_record(work, record, record.key or record_file.stem, open_store, out, heat=heat)


def draw_record(
    work: Path,
    record: Record,
    key: str,
    open_store: Callable[[str], Store],
    out: Path | None = None,
    *,
    dpi: int = DPI,
    heat: Heat | None = None,
) -> Path:
    """Draw a record whose predictions lie in `work`/predictions/`key`, with `dpi` pixels an inch.

    The other arguments, the result and the errors are those of `draw_cell`.
    """
    cell = open_panels(work, record, key, open_store, heat)
    panels = [
        _largest_slice(cell, f"{rank}: {class_name}\nDice {100 * score.dice:.1f} %", score)
        for rank, scan in _ranked(record)
        for class_name in cell.plan.classes
        for score in record.scores
        if (score.scan, score.class_name) == (scan, class_name) and score.dice is not None
    ]
    path = out or work / "figures" / f"{key}.png"
    draw_overlay(cell.heading, panels, path, dpi)
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


def _largest_slice(cell: CellPanels, title: str, score: Score) -> Panel:
    """Return the panel of the scored slice with the largest area of the class."""
    ref, task = max(cell.scored_slices(score), key=lambda pair: (cell.area(*pair), -pair[0].z))
    return cell.panel(title, score, ref, task)
