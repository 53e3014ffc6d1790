"""Panels of a recorded cell with saved predictions: one query slice each, for its picture and its film."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from episodes.plan.plan import EvaluationPlan
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.types import SliceRef, Task
from fewshot.files.names import path_in
from protocols.cells.predictions import read_prediction, support_suffix
from protocols.cells.recorded_plan import recorded_plan
from results.figures.overlay import Panel
from results.records.record import Record
from results.records.record_parts import Score

Heat = Callable[[SliceRef], NDArray[np.float32]]  # the heat-maps (C,H,W) of a query slice


@dataclass(frozen=True)
class CellPanels:
    """Makes the panels of a record.

    Attributes:
        prediction: returns the saved mask (Z,H,W) of a class, scan and suffix of the supports.
        heat: returns the heat-maps of a slice, which stand in place of the support; None without any.
    """

    record: Record
    plan: EvaluationPlan
    store: Store
    prediction: Callable[[str, str, str], NDArray[np.bool_]]
    heat: Heat | None = None

    @property
    def heading(self) -> str:
        """Return method, dataset, setting, fold, group and protocol of the record in words."""
        record = self.record
        return (
            f"{record.method.name} on {record.dataset.name}, setting {record.setting}, "
            f"fold {record.fold}, group {record.group} ({record.protocol.name})"
        )

    def scored_slices(self, score: Score) -> list[tuple[SliceRef, Task]]:
        """Return the scored query slices of a score, each with its task, in the order of the plan."""
        return [
            (ref, task)
            for task in self.plan.tasks
            if task.class_name == score.class_name and task.queries and task.queries[0].scan == score.scan
            and list(dict.fromkeys(ref.scan for ref in task.support)) == list(score.supports)
            for ref, scored in zip(task.queries, task.scored, strict=True)
            if scored
        ]  # fmt: skip

    def area(self, ref: SliceRef, task: Task) -> int:
        """Return the number of true pixels of a task's class in a slice."""
        return int((self.store.scan(ref.scan).labels[ref.z] == task.class_value).sum())

    def panel(self, title: str, score: Score, ref: SliceRef, task: Task) -> Panel:
        """Return the panel of a query slice of a score, with points if the record has any for it."""
        query, support = self.store.scan(ref.scan), self.store.scan(task.support[0].scan)
        z, value = task.support[0].z, task.class_value
        suffix = support_suffix(self.plan, task)
        true, found = self._points(score, ref.z)
        return Panel(
            title=title,
            support_image=np.asarray(support.image[z], dtype=np.float32),
            support_mask=np.asarray(support.labels[z] == value),
            query_image=np.asarray(query.image[ref.z], dtype=np.float32),
            truth=np.asarray(query.labels[ref.z] == value),
            prediction=self.prediction(score.class_name, ref.scan, suffix)[ref.z],
            support_name=f"scan {task.support[0].scan}, slice {z}",
            query_name=f"scan {ref.scan}, slice {ref.z}",
            truth_points=true,
            found_points=found,
            heat=None if self.heat is None else self.heat(ref),
            upright=self.store.has_points or self.store.spec.modality == "picture",
        )

    def _points(
        self, score: Score, z: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]] | tuple[None, None]:
        """Return the true and the predicted points (P,2) on a slice; None without points in the record."""
        place = (score.class_name, score.scan, score.supports)
        for each in self.record.landmarks:
            if (each.class_name, each.scan, each.supports) == place:
                query = self.store.scan(score.scan)
                true = np.array(list(query.points.values()), dtype=np.float64).reshape(-1, 3)
                found = np.array(each.points_mm, dtype=np.float64).reshape(-1, 3) / query.spacing_mm
                return on_slice(true, z), on_slice(found, z)
        return None, None


def open_panels(
    work: Path, record: Record, key: str, open_store: Callable[[str], Store], heat: Heat | None = None
) -> CellPanels:
    """Return the panels of a record whose predictions lie in `work`/predictions/`key`.

    Raises:
        UserError: predictions are missing, or the store is another one.
    """
    folder = path_in(work / "predictions", "cell", key)
    if not folder.is_dir():
        raise UserError(f"cell {key} has no predictions in {folder}; run it again with --save-predictions")
    store = open_store(record.dataset.name)
    # a film shows the slices of a volume one after another
    last_read = lru_cache(maxsize=1)(partial(read_prediction, folder, store))
    return CellPanels(record, recorded_plan(record, store), store, last_read, heat)


def on_slice(points: NDArray[np.float64], z: int) -> NDArray[np.float64]:
    """Return (row, column) (P,2) of those of the points (z,y,x) in voxels that lie on a slice."""
    return points[np.rint(points[:, 0]) == z, 1:]
