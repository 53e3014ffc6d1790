"""Saved predictions in words: how many label maps, on which voxels, and how large they are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fewshot.files.names import path_in
from fewshot.files.seals import read_sealed
from protocols.cells.predictions import FACTS, REMEDY
from results.records.record import Record

VOXELS = {"original": "on the voxels of their files", "store": "on the prepared slices"}


def describe_predictions(work: Path, records: Iterable[Record]) -> list[str]:
    """Return lines on the saved predictions of recorded cells, one per grid; an empty list without any.

    Args:
        work: the work folder.
        records: of the cells.
    """
    lines = []
    folders = [
        path_in(work / "predictions", "cell", record.key) for record in records if record.key is not None
    ]
    facts = {
        folder: read_sealed(folder / FACTS, REMEDY)
        for folder in dict.fromkeys(folders)
        if (folder / FACTS).is_file()
    }
    for grid, voxels in VOXELS.items():
        cells = [folder for folder, content in facts.items() if content["grid"] == grid]
        maps = sum(len(list(folder.glob("scan_*.nii.gz"))) for folder in cells)
        if not maps:
            continue
        size = sum(path.stat().st_size for folder in cells for path in folder.rglob("*") if path.is_file())
        lines.append(
            f"masks: {maps} label maps of {len(cells)} cells in {work / 'predictions'}, {voxels}, "
            f"{size / maps / 1000:.1f} kB a scan with the masks that are counted"
        )
        several = sum(sum(facts[folder]["in_several"].values()) for folder in cells)
        if several:
            lines.append(
                f"{several} voxels of these maps lie in the masks of several classes and belong to the "
                "smallest mask; counts use every mask as it was predicted"
            )
    return lines
