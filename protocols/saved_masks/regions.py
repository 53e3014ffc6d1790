"""Scores of the regions of myocardial pathology, from the saved predictions of recorded cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from episodes.store.store import Store
from fewshot.base.errors import UserError, listed
from fewshot.base.progress import progress
from protocols.saved_masks.masks import Cell
from protocols.saved_masks.scored_masks import scored_masks
from results.metrics.regions import CLASSES, REGIONS, RegionScore, region_score

Pair = tuple[NDArray[np.bool_], NDArray[np.bool_]]  # prediction and truth (Z,H,W)


def check_pathology(store: Store) -> None:
    """Raise `UserError` if a dataset lacks a class of the regions."""
    missing = [name for name in CLASSES if name not in store.spec.classes]
    if missing:
        raise UserError(
            f"dataset {store.spec.name} has no class {listed(missing)}, expected {listed(CLASSES)}; choose a "
            "dataset of pathology (docs/immseg.md)"
        )


def region_scores(label: str, cells: Sequence[Cell], store: Store) -> dict[str, list[RegionScore]]:
    """Return region -> a score for each scan of one row's cells, over the slices that its classes score.

    Args:
        label: names the row in the progress.
        cells: recorded cells with saved predictions of all three classes.
        store: of the records.

    Raises:
        UserError: a cell lacks a class, has several supports for a scan, or a file of predictions is missing.
    """
    found: dict[str, list[RegionScore]] = {region: [] for region in REGIONS}
    with progress(sum(len(cell.record.scores) for cell in cells), f"{label} regions", "mask") as bar:
        for cell in cells:
            scans: dict[str, dict[str, Pair]] = {}
            for score, predicted, true in scored_masks(cell, store):
                if score.class_name in scans.setdefault(score.scan, {}):
                    raise UserError(
                        f"cell {cell.folder.name} has several supports for scan {score.scan}, expected one; "
                        "choose a protocol with one support"
                    )
                scans[score.scan][score.class_name] = (predicted, true)
                bar.update(1)
            for scan, masks in scans.items():
                missing = [name for name in CLASSES if name not in masks]
                if missing:
                    raise UserError(
                        f"cell {cell.folder.name} has no score of {listed(missing)} in scan {scan}, expected "
                        f"{listed(CLASSES)} in one group; run it with --groups pathology"
                    )
                for region, names in REGIONS.items():
                    predicted, true = (
                        np.logical_or.reduce([masks[name][side] for name in names]) for side in (0, 1)
                    )
                    found[region].append(region_score(predicted, true))
    return found
