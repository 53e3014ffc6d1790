"""Film of a recorded cell: its scored slices one after another, scan by scan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from episodes.store.store import Store
from fewshot.base.errors import UserError, unknown_name
from fewshot.base.types import SliceRef, Task
from protocols.saved_masks.cell_panels import CellPanels, Heat, open_panels
from results.figures.film import draw_film
from results.figures.overlay import Panel
from results.metrics.counts import count, dice
from results.records.files import read_record
from results.records.record_parts import Score

MOST_FRAMES = 500  # a frame takes about a megabyte of memory until the film is written
Frame = tuple[Score, SliceRef, Task]


def draw_cell_film(
    work: Path,
    record_file: Path,
    open_store: Callable[[str], Store],
    out: Path | None = None,
    heat: Heat | None = None,
    scans: Sequence[str] = (),
) -> Path:
    """Draw a film of a recorded cell with saved predictions: a frame for each class and scored slice.

    Args:
        work: holds the saved predictions.
        record_file: the cell's record; its name is the cell's key.
        open_store: returns the store of a dataset's name.
        out: the GIF; None for `work`/figures/<key>.gif.
        heat: returns the heat-maps of a slice; None without any.
        scans: the scans to show; () for all.

    Returns:
        The path of the GIF.

    Raises:
        UserError: predictions are missing, the store is another one, the cell lacks a scan, or the film would
            have more than `MOST_FRAMES` frames.
    """
    record = read_record(record_file)
    key = record.key or record_file.stem
    cell = open_panels(work, record, key, open_store, heat)
    chosen = _frames(cell, scans)
    if len(chosen) > MOST_FRAMES:
        raise UserError(
            f"the film would have {len(chosen)} frames, expected at most {MOST_FRAMES}; choose scans with "
            "--scan"
        )
    path = out or work / "figures" / f"{key}.gif"
    draw_film(cell.heading, _panels(cell, chosen), path, heat=heat is not None)
    return path


def _frames(cell: CellPanels, scans: Sequence[str]) -> list[Frame]:
    """Return the slices of the film: scans in the plan's order, classes, then slices from first to last.

    A scan with several supports in turn is shown with its first.
    """
    known = cell.plan.query_scans
    for scan in scans:
        if scan not in known:
            raise unknown_name("scan of the cell", scan, known)
    first: dict[tuple[str, str], Score] = {}
    for score in cell.record.scores:
        first.setdefault((score.scan, score.class_name), score)
    scores = [
        first[scan, name]
        for scan in known
        if not scans or scan in scans
        for name in cell.plan.classes
        if (scan, name) in first
    ]
    return [
        (score, ref, task)
        for score in scores
        for ref, task in sorted(cell.scored_slices(score), key=lambda pair: pair[0].z)
    ]


def _panels(cell: CellPanels, frames: Sequence[Frame]) -> Iterator[Panel]:
    """Yield the panel of each frame, with scan, class, slice and the slice's Dice as its title."""
    for number, (score, ref, task) in enumerate(frames, start=1):
        made = cell.panel("", score, ref, task)
        tp, fp, fn = (int(value) for value in count(made.prediction, made.truth))
        value = dice(tp, fp, fn)
        text = "undefined" if value is None else f"{100 * value:.1f} %"
        title = (
            f"scan {ref.scan}, slice {ref.z}, {score.class_name}: Dice of the slice {text} "
            f"({number} of {len(frames)})"
        )
        yield replace(made, title=title)
